"""Rows of single values: Python's and NumPy's scalars, literals, times."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Self, get_args, get_origin

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from blazerpc.exceptions import ValidationError
from blazerpc.rows.base import Adapter, Lookup, Row
from blazerpc.types import PYTHON_TYPE_MAP, concrete_dtype
from blazerpc_client.wire.dtypes import numpy_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.options import write_allowed
from blazerpc_client.wire.scalars import SCALARS, check_text
from blazerpc_client.wire.values import (
    DURATION_MESSAGE,
    TIMESTAMP_MESSAGE,
    check_duration,
    check_timestamp,
    literal_value,
)

FIELD_TYPES: Final = {
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


@dataclass(frozen=True)
class ScalarRow(Row):
    """``str``, ``int``, ``float``, ``bool``, ``bytes``."""

    proto: str

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if not isinstance(annotation, type) or annotation not in PYTHON_TYPE_MAP:
            return None
        return cls(PYTHON_TYPE_MAP[annotation])

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        field.type = FIELD_TYPES[self.proto]
        field.label = FieldDescriptorProto.LABEL_OPTIONAL

    def default_json(self, default: object) -> str | None:
        value = SCALARS[FIELD_TYPES[self.proto]].convert(default)
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
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
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
class LiteralRow(Row):
    """``Literal["a", "b"]``: a string that is one of these."""

    allowed: tuple[str, ...]

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if get_origin(annotation) is not Literal:
            return None
        allowed = get_args(annotation)
        if not all(isinstance(value, str) for value in allowed):
            raise ValidationError("a Literal of strings is supported, of anything else it is not")
        for value in allowed:
            check_text(value)
        return cls(allowed)

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        field.type = FieldDescriptorProto.TYPE_STRING
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        write_allowed(field, self.allowed)

    def default_json(self, default: object) -> str | None:
        return json.dumps(literal_value(self.allowed).dump(default), ensure_ascii=False)

    def __str__(self) -> str:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in self.allowed)


@dataclass(frozen=True)
class TimeRow(Row):
    """``datetime`` and ``timedelta``, as protobuf's own Timestamp and Duration."""

    kind: type[datetime] | type[timedelta]

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        return cls(annotation) if annotation is datetime or annotation is timedelta else None

    @property
    def message(self) -> str:
        """The full name of the message that carries a value."""
        return TIMESTAMP_MESSAGE if self.kind is datetime else DURATION_MESSAGE

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{self.message}"
        field.label = FieldDescriptorProto.LABEL_OPTIONAL

    def default_json(self, default: object) -> str | None:
        if self.kind is datetime:
            return json.dumps(check_timestamp(default).isoformat())
        # Exactly, as protobuf's JSON has it: a float would round.
        microseconds = check_duration(default) // timedelta(microseconds=1)
        sign = "-" if microseconds < 0 else ""
        seconds, rest = divmod(abs(microseconds), 1_000_000)
        fraction = f".{rest:06}".rstrip("0") if rest else ""
        return json.dumps(f"{sign}{seconds}{fraction}s")

    def __str__(self) -> str:
        return self.kind.__name__


def not_omissible(value: object, empty: object) -> str:
    """Return the JSON of the only default that a list or a map can have.

    Raises:
        WireError: for any other.
    """
    if value != empty:
        what = type(empty).__name__
        raise WireError(
            f"protobuf cannot tell an absent {what} from an empty one; only {empty} will do"
        )
    return json.dumps(empty)
