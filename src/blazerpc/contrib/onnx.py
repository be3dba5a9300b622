"""Models of ONNX, whose types are read off the graph.

``app.add_onnx("digits", "digits.onnx")`` serves one without a function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blazerpc.contrib.graph import (
    GraphTensor,
    field_names,
    outputs_class,
    symbolic_shapes,
    typed_function,
)
from blazerpc.contrib.missing import missing
from blazerpc.exceptions import ConfigurationError, ValidationError
from blazerpc.types import _TensorType

try:
    import onnxruntime
except ModuleNotFoundError as _error:
    raise missing(_error, "ONNX Runtime", "onnx") from _error

__all__ = ["ONNXModel"]

#: ONNX Runtime's names of tensor types that NumPy and the wire have too. bfloat16 is not among
#: them: ONNX Runtime 1.32 takes no array of it.
_DTYPES: Final[Mapping[str, type[np.generic]]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.str_,
}


class ONNXModel:
    """A graph, loaded by ONNX Runtime. It may be called from several threads at a time.

    Args:
        path: of the ``.onnx`` file.
        providers: ONNX Runtime's execution providers, the preferred one first; None is the CPU.
        session_options: of ONNX Runtime.

    Attributes:
        path: likewise.
        input_names: as the graph has them, in order.
        output_names: likewise.

    Raises:
        ConfigurationError: for a file that cannot be loaded, or a provider that is not there.
    """

    def __init__(
        self,
        path: str | Path,
        providers: Sequence[str] | None = None,
        session_options: object = None,
    ) -> None:
        self.path: Path = Path(path)
        self._session = _session(self.path, providers or ["CPUExecutionProvider"], session_options)
        self.input_names: list[str] = [node.name for node in self._session.get_inputs()]
        self.output_names: list[str] = [node.name for node in self._session.get_outputs()]

    def predict(self, *arrays: npt.ArrayLike) -> list[npt.NDArray[Any]]:
        """Return all outputs, in order.

        Args:
            arrays: the inputs, in the order of ``input_names``.

        Raises:
            ValueError: for another number of them.
        """
        if len(arrays) != len(self.input_names):
            raise ValueError(
                f"the graph has {len(self.input_names)} inputs "
                f"({', '.join(self.input_names)}), got {len(arrays)}"
            )
        return self._run(self.output_names, dict(zip(self.input_names, arrays, strict=True)))

    def predict_dict(self, inputs: Mapping[str, npt.ArrayLike]) -> dict[str, npt.NDArray[Any]]:
        """Return all outputs by name, of inputs by name."""
        outputs = self._run(self.output_names, inputs)
        return dict(zip(self.output_names, outputs, strict=True))

    def as_function(
        self, class_name: str, outputs: Sequence[str] | None = None
    ) -> Callable[..., object]:
        """Return a function whose annotations are the types of the graph, to be registered.

        Its parameters are the inputs, by the names that ``field_names`` in ``graph.py`` gives them.
        It returns an array for one output, for several a dataclass with a field for each.

        Args:
            class_name: of that dataclass.
            outputs: which are returned, by the graph's names; None is all.

        Raises:
            ValidationError: for a type that the wire has not, or an output that is not there.
        """
        inputs = self._tensors(self._session.get_inputs())
        results = self._tensors(self._wanted(outputs))
        parameters, fields = _annotations(inputs, results)
        names = dict(zip(parameters, self.input_names, strict=True))
        renamed = {field: tensor.name for field, tensor in zip(fields, results, strict=True)}
        run = partial(self._call, names, list(renamed.values()))
        # A lone result has no name on the wire.
        doc = self._doc(names, renamed if len(fields) > 1 else {})
        if len(fields) == 1:
            (result,) = fields.values()
            return typed_function(lambda arrays: run(arrays)[0], parameters, result, doc)
        kind = outputs_class(class_name, fields)
        return typed_function(lambda arrays: kind(*run(arrays)), parameters, kind, doc)

    def _call(
        self, names: Mapping[str, str], outputs: Sequence[str], arrays: Mapping[str, Any]
    ) -> list[npt.NDArray[Any]]:
        return self._run(outputs, {names[field]: array for field, array in arrays.items()})

    def _run(
        self, outputs: Sequence[str], inputs: Mapping[str, npt.ArrayLike]
    ) -> list[npt.NDArray[Any]]:
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        results: list[Any] = self._session.run(list(outputs), arrays)
        return [_as_text(result) for result in results]

    def _wanted(self, outputs: Sequence[str] | None) -> list[Any]:
        nodes = {node.name: node for node in self._session.get_outputs()}
        names = self.output_names if outputs is None else outputs
        for name in names:
            if name not in nodes:
                raise ValidationError(
                    f"{self.path.name} has no output {name!r}; it has {', '.join(nodes)}"
                )
        if not names:
            raise ValidationError("no outputs; name at least one")
        return [nodes[name] for name in names]

    def _tensors(self, nodes: Sequence[Any]) -> list[GraphTensor]:
        for node in nodes:
            if node.type not in _DTYPES:
                mend = "an output can be left out with outputs=[...]"
                if node.type.startswith("seq(map"):
                    mend = "skl2onnx exports a tensor with options={'zipmap': False}"
                raise ValidationError(
                    f"{node.name!r} in {self.path.name} is a {node.type}, which cannot be served; "
                    f"{mend}"
                )
        return [GraphTensor(node.name, _DTYPES[node.type], tuple(node.shape)) for node in nodes]

    def _doc(self, *renamed: Mapping[str, str]) -> str:
        meta = self._session.get_modelmeta()
        doc = meta.graph_description or meta.description or f"Run the graph of {self.path.name}."
        others = [
            f"``{field}`` is ``{name}`` in the graph."
            for fields in renamed
            for field, name in fields.items()
            if field != name
        ]
        return "\n".join([doc, "", *others]).strip()


def _annotations(
    inputs: Sequence[GraphTensor], outputs: Sequence[GraphTensor]
) -> tuple[dict[str, _TensorType], dict[str, _TensorType]]:
    """Return the annotations of parameters and of results, by field name."""
    names = field_names([tensor.name for tensor in inputs])
    # Apart: an input and an output of one name are no clash, but must not share an axis' name.
    results = field_names([tensor.name for tensor in outputs])
    shapes = symbolic_shapes(
        {name: tensor.shape for name, tensor in zip(names, inputs, strict=True)},
        {f"{name} result": tensor.shape for name, tensor in zip(results, outputs, strict=True)},
    )
    parameters = {
        name: _TensorType(tensor.dtype, shapes[name], is_input=True)
        for name, tensor in zip(names, inputs, strict=True)
    }
    fields = {
        name: _TensorType(tensor.dtype, shapes[f"{name} result"], is_input=False)
        for name, tensor in zip(results, outputs, strict=True)
    }
    return parameters, fields


def _session(path: Path, providers: Sequence[str], options: object) -> Any:
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise ConfigurationError(
                f"ONNX Runtime has no provider {provider!r} here; it has {', '.join(available)}"
            )
    try:
        return onnxruntime.InferenceSession(
            str(path), providers=list(providers), sess_options=options
        )
    except Exception as error:  # ONNX Runtime's errors have no common base
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"{path} cannot be loaded: {reason}") from None


def _as_text(result: Any) -> Any:
    """Return text, which comes back as objects, as an array of it; all else as it is."""
    if isinstance(result, np.ndarray) and result.dtype.kind == "O":
        return result.astype(np.str_)
    return result
