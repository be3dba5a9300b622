"""The type table: one class for each kind of Python annotation.

A row says three things of an annotation: which field it is in protobuf, what the function gets for
the plain value that the wire codec reads there, and (through the codec's own check) what it may
return. Schema, decoder, encoder, .proto text and client all follow from the field. To add a type,
add a class here and list it in ``ROWS``; if protobuf has no such field yet, add its codec to
``blazerpc_client.wire.fields``.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Final, Self, Union, get_args, get_origin

import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from blazerpc.exceptions import ValidationError
from blazerpc.types import (
    PYTHON_TYPE_MAP,
    Tensor,
    _TensorType,
    array_element,
    concrete_dtype,
    unaliased,
)
from blazerpc_client.wire.dtypes import numpy_name, supported_dtypes
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import TENSOR_MESSAGE
from blazerpc_client.wire.options import write_tensor
from blazerpc_client.wire.scalars import SCALARS
from blazerpc_client.wire.tensors import TensorSpec

#: Turns the plain value of the wire into what the function's annotation says.
Adapter = Callable[[object], object]

_FIELD_TYPES: Final = {
    scalar.name: FieldDescriptorProto.Type.Value(f"TYPE_{scalar.name.upper()}")
    for scalar in SCALARS.values()
}

#: NumPy scalar types that protobuf has a type of the same width for.
_NUMPY_SCALARS: Final[dict[type[np.generic], str]] = {
    np.float32: "float",
    np.float64: "double",
    np.int32: "int32",
    np.int64: "int64",
    np.uint32: "uint32",
    np.uint64: "uint64",
    np.bool_: "bool",
}

ACCEPTED: Final = (
    "str, int, float, bool, bytes, a NumPy scalar type (np.float64), a list of one of these, "
    "TensorInput[np.float32, 'batch', 4], Annotated[npt.NDArray[np.float32], Tensor('batch', 4)], "
    "or one of these | None"
)


class Row(ABC):
    """What one annotation means."""

    @classmethod
    @abstractmethod
    def match(cls, annotation: object) -> Self | None:
        """Return the row for ``annotation``, None when it is of another kind.

        Raises:
            ValidationError: when it is of this kind and not allowed.
        """

    @abstractmethod
    def describe(self, field: FieldDescriptorProto) -> None:
        """Set type, label and options of the field that carries a value."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the type as one tells it to a person."""

    def omissible(self) -> Row:
        """Return the row of a parameter of this type that has a default."""
        return OptionalRow(self)

    def default_json(self, default: object) -> str | None:
        """Return a default as JSON, for people to read; None when JSON has no word for it.

        Raises:
            WireError: when the default is not of this type.
        """
        return None

    def adapter(self) -> Adapter | None:
        """Return what turns the wire's plain value into the annotated type, None if nothing has to.

        Decided once, so that most values pass through no call at all.
        """
        return None


@dataclass(frozen=True)
class ScalarRow(Row):
    """``str``, ``int``, ``float``, ``bool``, ``bytes``."""

    proto: str

    @classmethod
    def match(cls, annotation: object) -> Self | None:
        if not isinstance(annotation, type) or annotation not in PYTHON_TYPE_MAP:
            return None
        return cls(PYTHON_TYPE_MAP[annotation])

    def describe(self, field: FieldDescriptorProto) -> None:
        field.type = _FIELD_TYPES[self.proto]
        field.label = FieldDescriptorProto.LABEL_OPTIONAL

    def default_json(self, default: object) -> str | None:
        value = SCALARS[_FIELD_TYPES[self.proto]].convert(default)
        if isinstance(value, bytes):
            value = b64encode(value).decode()
        if isinstance(value, float) and not math.isfinite(value):
            # As in protobuf's JSON: the language itself has no word for them.
            value = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]
        return json.dumps(value, ensure_ascii=False)

    def __str__(self) -> str:
        return next(
            python.__name__ for python, name in PYTHON_TYPE_MAP.items() if name == self.proto
        )


@dataclass(frozen=True)
class NumpyScalarRow(ScalarRow):
    """``np.float64``, ``np.int32``, ...: the exact width on the wire, that type in the function."""

    scalar: type[np.generic]

    @classmethod
    def match(cls, annotation: object) -> Self | None:
        if not isinstance(annotation, type) or not issubclass(annotation, np.generic):
            return None
        exact = concrete_dtype(annotation)
        for scalar, proto in _NUMPY_SCALARS.items():
            # By dtype: one width can have several types (np.longlong is another np.int64).
            if exact is not None and np.dtype(scalar) == exact:
                return cls(proto, annotation)
        # Of np.str_ and np.bytes_ the plain types do better: NumPy drops trailing NULs.
        names = ", ".join(["str", "bytes", *(f"np.{kind.__name__}" for kind in _NUMPY_SCALARS)])
        raise ValidationError(
            f"np.{annotation.__name__} has no scalar type of its own in protobuf; use {names}"
        )

    def adapter(self) -> Adapter | None:
        return self.scalar

    def __str__(self) -> str:
        return numpy_name(np.dtype(self.scalar))


@dataclass(frozen=True)
class TensorRow(Row):
    """``TensorInput[...]``, ``TensorOutput[...]``, ``Annotated[npt.NDArray[...], Tensor(...)]``."""

    spec: TensorSpec

    @classmethod
    def match(cls, annotation: object) -> Self | None:
        if isinstance(annotation, _TensorType):
            return cls(TensorSpec(np.dtype(annotation.dtype), annotation.shape))
        if get_origin(annotation) is Annotated:
            array, *extras = get_args(annotation)
            shapes = [extra.shape for extra in extras if isinstance(extra, Tensor)]
            if shapes and array_element(array) is not None:
                return cls.match(_TensorType(array, shapes[0], is_input=True))
        if array_element(annotation) is not None or annotation is np.ndarray:
            raise ValidationError(
                "an array without a shape; write Annotated[npt.NDArray[np.float32], "
                f"Tensor('batch', 4)], with one of {', '.join(supported_dtypes())}"
            )
        return None

    def describe(self, field: FieldDescriptorProto) -> None:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{TENSOR_MESSAGE}"
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        write_tensor(field, self.spec)

    def __str__(self) -> str:
        return str(self.spec)


@dataclass(frozen=True)
class ListRow(Row):
    """``list[T]`` of scalars."""

    item: ScalarRow

    @classmethod
    def match(cls, annotation: object) -> Self | None:
        if get_origin(annotation) is not list or not get_args(annotation):
            return None
        item = row_of(get_args(annotation)[0])
        if not isinstance(item, ScalarRow):
            raise ValidationError("a list holds scalars; a list of anything else is not supported")
        return cls(item)

    def describe(self, field: FieldDescriptorProto) -> None:
        self.item.describe(field)
        field.label = FieldDescriptorProto.LABEL_REPEATED

    def adapter(self) -> Adapter | None:
        adapt = self.item.adapter()
        if adapt is None:
            return None

        def adapt_each(values: object) -> object:
            assert isinstance(values, list)  # the codec of a repeated field reads a list
            return [adapt(value) for value in values]

        return adapt_each

    def omissible(self) -> Row:
        return self

    def default_json(self, default: object) -> str | None:
        if default != []:
            raise WireError(
                "protobuf cannot tell an absent list from an empty one; only [] will do"
            )
        return "[]"

    def __str__(self) -> str:
        return f"list[{self.item}]"


@dataclass(frozen=True)
class OptionalRow(Row):
    """``T | None``: a value that may be absent."""

    present: Row

    @classmethod
    def match(cls, annotation: object) -> Self | None:
        if get_origin(annotation) not in (Union, UnionType):
            return None
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        if len(kinds) == len(get_args(annotation)) or len(kinds) > 1:
            raise ValidationError("a union is not supported, but for T | None")
        present = row_of(kinds[0])
        if isinstance(present, ListRow):
            raise ValidationError(
                "protobuf cannot tell an absent list from an empty one; leave the None out"
            )
        return cls(present)

    def omissible(self) -> Row:
        return self

    def default_json(self, default: object) -> str | None:
        return None if default is None else self.present.default_json(default)

    def describe(self, field: FieldDescriptorProto) -> None:
        self.present.describe(field)
        field.proto3_optional = True

    def adapter(self) -> Adapter | None:
        adapt = self.present.adapter()
        return None if adapt is None else lambda value: None if value is None else adapt(value)

    def __str__(self) -> str:
        return f"{self.present} | None"


#: Every kind of annotation, tried in order.
ROWS: Final[tuple[type[Row], ...]] = (ScalarRow, NumpyScalarRow, TensorRow, ListRow, OptionalRow)


def row_of(annotation: object) -> Row:
    """Return the row of ``annotation``.

    Raises:
        ValidationError: saying what would be accepted, when there is none.
    """
    annotation = unaliased(annotation)
    for kind in ROWS:
        row = kind.match(annotation)
        if row is not None:
            return row
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    raise ValidationError(f"{name} is not supported; use {ACCEPTED}")
