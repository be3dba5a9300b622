"""The row of arrays, in each way that one can be annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self, get_args, get_origin

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from blazerpc.exceptions import ValidationError
from blazerpc.rows.base import Lookup, Row
from blazerpc.types import Tensor, _TensorType, array_element
from blazerpc_client.wire.dtypes import supported_dtypes
from blazerpc_client.wire.large import TENSOR_MESSAGE
from blazerpc_client.wire.options import write_tensor
from blazerpc_client.wire.tensors import TensorSpec


@dataclass(frozen=True)
class TensorRow(Row):
    """``TensorInput[...]``, ``TensorOutput[...]``, ``Annotated[npt.NDArray[...], Tensor(...)]``.

    And jaxtyping's ``Float32[np.ndarray, "batch 4"]``.
    """

    spec: TensorSpec

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if isinstance(annotation, _TensorType):
            return cls(TensorSpec(np.dtype(annotation.dtype), annotation.shape))
        if get_origin(annotation) is Annotated:
            array, *extras = get_args(annotation)
            tensors = [extra for extra in extras if isinstance(extra, Tensor)]
            if tensors:
                return cls.match(_of_array(array, tensors[0]), row_of)
        if _is_jaxtyping(annotation):
            return cls.match(_from_jaxtyping(annotation, np.ndarray), row_of)
        if array_element(annotation) is not None or annotation is np.ndarray:
            raise ValidationError(
                "an array without a shape; write Annotated[npt.NDArray[np.float32], "
                f"Tensor('batch', 4)], with one of {', '.join(supported_dtypes())}"
            )
        return None

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{TENSOR_MESSAGE}"
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        write_tensor(field, self.spec)

    def __str__(self) -> str:
        return str(self.spec)


def of_framework(annotation: object, kind: type) -> _TensorType | None:
    """Return what an annotation says that has a framework's own tensors, None for any other.

    ``Annotated[torch.Tensor, Tensor("batch", 4, dtype=np.float32)]``, or jaxtyping's
    ``Float32[torch.Tensor, "batch 4"]``.

    Args:
        annotation: of a parameter or a result.
        kind: the framework's class of tensors.

    Raises:
        ValidationError: when it leaves dtype or shape open.
    """
    array, *extras = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if array is kind:
        for extra in extras:
            if isinstance(extra, Tensor) and extra.dtype is not None:
                return _TensorType(extra.dtype, extra.shape, is_input=True)
        name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        raise ValidationError(
            f"{name} without a dtype and shape; write Annotated[{name}, "
            "Tensor('batch', 4, dtype=np.float32)]"
        )
    if _is_jaxtyping(annotation) and getattr(annotation, "array_type", None) is kind:
        return _from_jaxtyping(annotation, kind)
    return None


def _of_array(array: Any, tensor: Tensor) -> _TensorType:
    """Return what ``Annotated[array, tensor]`` says."""
    if array_element(array) is None:
        shape = ", ".join(map(repr, tensor.shape))
        raise ValidationError(
            f"{array} is no array type; write Annotated[npt.NDArray[np.float32], Tensor({shape})]. "
            "(A framework's own tensors need its decorator: @torch_model, @tf_model)"
        )
    of_array = _TensorType(array, tensor.shape, is_input=True)
    if tensor.dtype not in (None, of_array.dtype):
        raise ValidationError(f"{tensor!r} says another dtype than {array}; leave its dtype out")
    return of_array


def _is_jaxtyping(annotation: object) -> bool:
    # By its attributes: jaxtyping is no dependency.
    return isinstance(annotation, type) and hasattr(annotation, "dim_str")


def _from_jaxtyping(annotation: Any, kind: type) -> _TensorType:
    """Return what ``Float32[np.ndarray, "batch 4"]`` says, of arrays of that kind.

    https://docs.kidger.site/jaxtyping/api/array/
    """
    if annotation.array_type is not kind:
        raise ValidationError(f"{annotation.array_type} is no NumPy array; write np.ndarray")
    # bool_ is NumPy's old name of bool.
    names = {str(name).removesuffix("_") for name in _listed(annotation.dtypes)}
    if len(names) != 1:
        raise ValidationError(
            f"{annotation.__name__} stands for several dtypes; name one, as Float32 does"
        )
    (name,) = names
    try:
        element = np.dtype(name).type
    except TypeError:
        raise ValidationError(f"{name} is no dtype of NumPy's own") from None
    return _TensorType(element, tuple(map(_size, annotation.dim_str.split())), is_input=True)


def _listed(dtypes: object) -> Sequence[object]:
    return dtypes if isinstance(dtypes, list | tuple) else ()  # of Shaped: any


def _size(text: str) -> int | str:
    if text.isdecimal():
        return int(text)
    if text.isidentifier() and text != "_":
        return text
    raise ValidationError(
        f"{text!r} in jaxtyping's shape has no form in a schema; write a size or a name for each "
        "dimension"
    )
