"""protobuf's scalar types: which Python value each takes, checked before it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from google.protobuf.descriptor import FieldDescriptor

from blazerpc_client.wire.errors import WireError

#: The least magnitude that rounds to infinity in 32 bits: the largest float32 and half a step.
_FLOAT32_OVERFLOW: Final = 2.0**128 - 2.0**103


@dataclass(frozen=True, slots=True)
class Scalar:
    """One scalar type of protobuf.

    Attributes:
        name: as a .proto file spells it.
        python: the type of its values in Python.
        convert: returns the value as exactly that type; takes what a type checker lets through
            (an int for a float) and NumPy scalars of the same kind, raises WireError otherwise.
    """

    name: str
    python: type[object]
    convert: Callable[[object], object]


def _expected(what: str, value: object) -> WireError:
    return WireError(f"expected {what}, got {type(value).__name__}")


def _is_duration(value: object) -> bool:
    return isinstance(value, np.timedelta64)  # NumPy makes it an integer, which it is not


def _integer(bits: int, *, signed: bool) -> Callable[[object], int]:
    low = -(1 << bits - 1) if signed else 0
    high = (1 << bits - 1) - 1 if signed else (1 << bits) - 1
    name = f"{'' if signed else 'u'}int{bits}"

    def convert(value: object) -> int:
        if type(value) is not int:
            if not isinstance(value, int | np.integer) or _is_duration(value):
                raise _expected("int", value)
            value = int(value)
        if not low <= value <= high:
            raise WireError(f"value is out of range for {name} ({low} to {high})")
        return value

    return convert


def _double(value: object) -> float:
    if type(value) is not float:
        if not isinstance(value, float | int | np.floating | np.integer) or _is_duration(value):
            raise _expected("float", value)
        try:
            value = float(value)
        except OverflowError:
            raise WireError("value is out of range for a 64-bit float") from None
    return value


def _float(value: object) -> float:
    number = _double(value)
    if _FLOAT32_OVERFLOW <= abs(number) < float("inf"):
        raise WireError("value is out of range for a 32-bit float; declare np.float64 for it")
    return number


def _bool(value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise _expected("bool", value)
    return bool(value)


def check_text(value: object) -> str:
    """Return ``value`` as a plain ``str``; raise ``WireError`` unless it is one that UTF-8 has."""
    if not isinstance(value, str):
        raise _expected("str", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise WireError("not valid Unicode text (a lone surrogate)") from None
    return str.__str__(value)  # of an enum that is a str, str() makes its name


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise _expected("bytes", value)
    return bytes(value)


_int32, _int64 = _integer(32, signed=True), _integer(64, signed=True)
_uint32, _uint64 = _integer(32, signed=False), _integer(64, signed=False)

#: ``FieldDescriptor.type`` to its scalar.
SCALARS: Final[dict[int, Scalar]] = {
    FieldDescriptor.TYPE_DOUBLE: Scalar("double", float, _double),
    FieldDescriptor.TYPE_FLOAT: Scalar("float", float, _float),
    FieldDescriptor.TYPE_INT64: Scalar("int64", int, _int64),
    FieldDescriptor.TYPE_UINT64: Scalar("uint64", int, _uint64),
    FieldDescriptor.TYPE_INT32: Scalar("int32", int, _int32),
    FieldDescriptor.TYPE_FIXED64: Scalar("fixed64", int, _uint64),
    FieldDescriptor.TYPE_FIXED32: Scalar("fixed32", int, _uint32),
    FieldDescriptor.TYPE_BOOL: Scalar("bool", bool, _bool),
    FieldDescriptor.TYPE_STRING: Scalar("string", str, check_text),
    FieldDescriptor.TYPE_BYTES: Scalar("bytes", bytes, _bytes),
    FieldDescriptor.TYPE_UINT32: Scalar("uint32", int, _uint32),
    FieldDescriptor.TYPE_SFIXED32: Scalar("sfixed32", int, _int32),
    FieldDescriptor.TYPE_SFIXED64: Scalar("sfixed64", int, _int64),
    FieldDescriptor.TYPE_SINT32: Scalar("sint32", int, _int32),
    FieldDescriptor.TYPE_SINT64: Scalar("sint64", int, _int64),
}
