"""Results of a call: shown to a person, written as JSON lines, or saved as .npy files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from blazerpc.cli.arrays import array_to_json, elements_to_json
from blazerpc.cli.text import printable
from blazerpc.cli.values import ArrayWriter, kind_of, message_to_json, to_json
from blazerpc_client.schema import RESULT
from blazerpc_client.specs import MethodSpec
from blazerpc_client.wire.dtypes import numpy_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.tensors import TensorSpec, shape_text

#: How many elements of an array are shown.
_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where results go, and how.

    Attributes:
        write: takes a line.
        terminal: whether a terminal obeys what is in the line.
        as_json: whether each result is a line of JSON.
        out: the file that arrays are saved in; None shows them.
    """

    write: Callable[[str], None]
    terminal: bool
    as_json: bool
    out: Path | None


class Results:
    """The results of one method.

    Args:
        method: that gives them.
        spec: of the method.
        output: where they go.

    Raises:
        WireError: when they are to be saved, and are no arrays.
    """

    def __init__(self, method: MethodDescriptor, spec: MethodSpec, output: Output) -> None:
        self._message = method.output_type
        self._field = self._message.fields_by_name[RESULT] if spec.model is not None else None
        self._streaming = spec.streaming
        self._output = output
        self._count = 0
        if output.out is not None and not _is_tensor(self._field):
            raise WireError("only a tensor can be saved, and the result is none", field="--out")

    def put(self, result: object) -> None:
        """Write, show or save the next result.

        Raises:
            OSError: when its file or the output refuses.
        """
        if self._output.out is not None and isinstance(result, np.ndarray):
            value: object = self._saved(result, self._output.out)
        else:
            value = self._value(result, array_to_json if self._output.as_json else _short)
        self._count += 1
        self._output.write(self._line(value))

    def _value(self, result: Any, arrays: ArrayWriter) -> object:
        if self._field is not None:
            return to_json(self._field, result, arrays)
        return message_to_json(self._message, result, arrays)

    def _saved(self, array: npt.NDArray[Any], path: Path) -> object:
        if self._streaming:
            path = path.with_name(f"{path.stem}-{self._count}{path.suffix}")
        with path.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        if self._output.as_json:
            shape = list(array.shape)
            return {"file": str(path), "dtype": numpy_name(array.dtype), "shape": shape}
        return f"saved {path}: {_kind(array)}"

    def _line(self, value: object) -> str:
        if self._output.as_json:
            return printable(json.dumps(value, ensure_ascii=False, allow_nan=False))
        indent = 2 if isinstance(value, dict) else None
        text = (
            value
            if isinstance(value, str)
            else json.dumps(value, ensure_ascii=False, indent=indent)
        )
        return printable(text) if self._output.terminal else text


def _is_tensor(field: FieldDescriptor | None) -> bool:
    return field is not None and kind_of(field) == "tensor"


def _kind(array: npt.NDArray[Any]) -> str:
    return f"{numpy_name(array.dtype)} {shape_text(array.shape)}"


def _short(array: npt.NDArray[Any], _: TensorSpec | None) -> str:
    """Return dtype, shape and the first elements of an array."""
    first = json.dumps(list(elements_to_json(array.reshape(-1)[:_SHOWN])), ensure_ascii=False)
    more = ", ...]" if array.size > _SHOWN else "]"
    return f"{_kind(array)} {first[:-1]}{more}"
