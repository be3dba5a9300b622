"""What one value of a field is in Python, whether the field holds one, a list or a map of them.

Messages and enums are classes of somebody's: the generated package's, the server's own, or
nobody's, where a message is a dict and an enum member its name. ``Classes`` says which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from blazerpc_client.naming import enum_member_names
from blazerpc_client.wire import tensors
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import LARGE, LargeMessage
from blazerpc_client.wire.scalars import SCALARS, Scalar
from blazerpc_client.wire.tensors import Dims, TensorSpec

TIMESTAMP_MESSAGE: Final = "google.protobuf.Timestamp"
DURATION_MESSAGE: Final = "google.protobuf.Duration"

#: The messages that hold one scalar.
#: https://protobuf.dev/reference/protobuf/google.protobuf/
WRAPPERS: Final[dict[str, Scalar]] = {
    f"google.protobuf.{name}Value": SCALARS[number]
    for name, number in {
        "Double": FieldDescriptor.TYPE_DOUBLE,
        "Float": FieldDescriptor.TYPE_FLOAT,
        "Int64": FieldDescriptor.TYPE_INT64,
        "UInt64": FieldDescriptor.TYPE_UINT64,
        "Int32": FieldDescriptor.TYPE_INT32,
        "UInt32": FieldDescriptor.TYPE_UINT32,
        "Bool": FieldDescriptor.TYPE_BOOL,
        "String": FieldDescriptor.TYPE_STRING,
        "Bytes": FieldDescriptor.TYPE_BYTES,
    }.items()
}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_MICROSECOND: Final = timedelta(microseconds=1)

# https://protobuf.dev/reference/protobuf/google.protobuf/: bounds of the two, in seconds.
_MIN_TIMESTAMP, _MAX_TIMESTAMP = -62_135_596_800, 253_402_300_799
_MAX_DURATION = 315_576_000_000


def empty_message(message_class: type[Message], values: Iterable[object]) -> Message:
    """Return an empty message, one that takes large tensors if there are some in ``values``."""
    message = message_class()
    large = any(isinstance(value, np.ndarray) and value.nbytes >= LARGE for value in values)
    return LargeMessage(message, {}) if large else message


class StructClass(Protocol):
    """The Python class of a message type."""

    def make(self, values: dict[str, object]) -> object:
        """Return an instance; ``values`` has all fields, None for those that are absent.

        Raises:
            WireError: when the class refuses them.
        """

    def take(self, value: object) -> Mapping[str, object]:
        """Return the fields of an instance.

        Raises:
            WireError: when ``value`` is none.
        """


class EnumClass(Protocol):
    """The Python class of an enum."""

    def make(self, number: int) -> object:
        """Return the member of that number.

        Raises:
            WireError: when there is none.
        """

    def take(self, value: object) -> int:
        """Return the number of a member.

        Raises:
            WireError: when ``value`` is none.
        """


class Classes(Protocol):
    """Which Python classes messages and enums are."""

    def struct(self, descriptor: Descriptor) -> StructClass:
        """Return the class of a message type."""

    def enum(self, descriptor: EnumDescriptor) -> EnumClass:
        """Return the class of an enum."""


class RawValue:
    """A value that protobuf holds as it is: a number, a string, bytes.

    Attributes:
        dump: returns what protobuf gets for a Python value, or raises ``WireError``.
        load: returns the Python value of what protobuf holds; None when they are the same.
    """

    def __init__(
        self,
        dump: Callable[[object], object],
        load: Callable[[Any], object] | None = None,
    ) -> None:
        self.dump = dump
        self.load = load


def check_timestamp(value: object) -> datetime:
    """Return ``value``; raise ``WireError`` unless it is an aware datetime."""
    if not isinstance(value, datetime):
        raise WireError(f"expected datetime, got {type(value).__name__}")
    if value.utcoffset() is None:
        raise WireError("a naive datetime; give it a time zone: datetime.now(UTC)")
    return value


def check_duration(value: object) -> timedelta:
    """Return ``value``; raise ``WireError`` unless it is a timedelta that protobuf can carry."""
    if not isinstance(value, timedelta):
        raise WireError(f"expected timedelta, got {type(value).__name__}")
    if abs(value) > timedelta(seconds=_MAX_DURATION):
        raise WireError("out of the range of google.protobuf.Duration (10,000 years)")
    return value


def literal_value(allowed: Sequence[str]) -> RawValue:
    """Return the value of a string that is one of ``allowed``."""

    def check(value: object) -> object:
        if value not in allowed:
            shown = repr(value)[:40] if isinstance(value, str) else type(value).__name__
            raise WireError(f"expected one of {', '.join(map(repr, allowed))}, got {shown}")
        return value

    return RawValue(check, check)


def enum_value(descriptor: EnumDescriptor, enum: EnumClass) -> RawValue:
    """Return the value of an enum that is a class of ``enum``."""
    convert = SCALARS[FieldDescriptor.TYPE_INT32].convert
    known = descriptor.values_by_number if descriptor.is_closed else None

    def dump(value: object) -> object:
        number = convert(enum.take(value))
        if known is not None and number not in known:
            raise WireError(f"{number} is no value of {descriptor.name}, which is closed")
        return number

    return RawValue(dump, enum.make)


class MessageValue(ABC):
    """A value that is a message."""

    @abstractmethod
    def load(self, message: Message, dims: Dims) -> object:
        """Return the value that ``message`` holds, or raise ``WireError``."""

    @abstractmethod
    def fill(self, message: Message, value: object, dims: Dims) -> None:
        """Put ``value`` into the empty ``message``, or raise ``WireError``."""


class TensorValue(MessageValue):
    """An array, checked against the declared type when the schema declares one."""

    def __init__(self, spec: TensorSpec | None) -> None:
        self.spec = spec

    def load(self, message: Any, dims: Dims) -> object:
        array = tensors.decode(message.shape, message.dtype, message.data)
        if self.spec is not None:
            self.spec.check(array, dims)
        return array

    def checked(self, value: object, dims: Dims) -> npt.NDArray[Any]:
        """Return the array that ``value`` is, or raise ``WireError``."""
        if isinstance(value, np.generic):  # what NumPy's reductions give for a 0-d array
            value = np.asarray(value)
        if not isinstance(value, np.ndarray):
            expected = f"{self.spec} array" if self.spec else "array"
            raise WireError(f"expected {expected}, got {type(value).__name__}")
        if self.spec is not None:
            self.spec.check(value, dims)
        return value

    def fill(self, message: Any, value: object, dims: Dims) -> None:
        shape, dtype, data = tensors.encode(self.checked(value, dims))
        # Filled in place: the constructor would copy the data four times.
        message.shape.extend(shape)
        message.dtype = dtype
        message.data = data


class TimestampValue(MessageValue):
    """An aware ``datetime``, in UTC when it is read; finer than microseconds is cut off."""

    def load(self, message: Any, dims: Dims) -> object:
        seconds, nanos = message.seconds, message.nanos
        if not (_MIN_TIMESTAMP <= seconds <= _MAX_TIMESTAMP and 0 <= nanos < 1_000_000_000):
            raise WireError("out of the range of google.protobuf.Timestamp")
        return _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)

    def fill(self, message: Any, value: object, dims: Dims) -> None:
        since = check_timestamp(value) - _EPOCH
        message.seconds = since // _SECOND
        message.nanos = since % _SECOND // _MICROSECOND * 1000


class DurationValue(MessageValue):
    """A ``timedelta``; finer than microseconds is cut off."""

    def load(self, message: Any, dims: Dims) -> object:
        seconds, nanos = message.seconds, message.nanos
        # Both have the sign of the whole.
        if abs(seconds) > _MAX_DURATION or abs(nanos) >= 1_000_000_000 or seconds * nanos < 0:
            raise WireError("out of the range of google.protobuf.Duration")
        return timedelta(seconds=seconds, microseconds=int(nanos / 1000))

    def fill(self, message: Any, value: object, dims: Dims) -> None:
        duration = check_duration(value)
        sign = -1 if duration < timedelta(0) else 1
        message.seconds = sign * (abs(duration) // _SECOND)
        message.nanos = sign * (abs(duration) % _SECOND // _MICROSECOND * 1000)


class WrapperValue(MessageValue):
    """A scalar in a message of its own, which older schemas have where it may be absent."""

    def __init__(self, scalar: Scalar) -> None:
        self._convert = scalar.convert

    def load(self, message: Any, dims: Dims) -> object:
        value: object = message.value
        return value

    def fill(self, message: Any, value: object, dims: Dims) -> None:
        message.value = self._convert(value)


def enum_members(descriptor: EnumDescriptor) -> dict[str, int]:
    """Return the numbers of an enum's members by their names in Python."""
    names = enum_member_names(descriptor.name, [value.name for value in descriptor.values])
    return dict(zip(names, (value.number for value in descriptor.values), strict=True))


class _Dict:
    """A message that is a dict."""

    def make(self, values: dict[str, object]) -> object:
        return values

    def take(self, value: object) -> Mapping[str, object]:
        if not isinstance(value, Mapping):
            raise WireError(f"expected dict, got {type(value).__name__}")
        return value


class _Name:
    """An enum member that is its name, or its number where it has no name."""

    def __init__(self, descriptor: EnumDescriptor) -> None:
        self._numbers = enum_members(descriptor)
        # Of several names of one number, the first.
        self._names = {number: name for name, number in reversed(self._numbers.items())}

    def make(self, number: int) -> object:
        return self._names.get(number, number)

    def take(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if not isinstance(value, str) or value not in self._numbers:
            expected = ", ".join(self._numbers)
            raise WireError(f"expected one of {expected}, got {str(value)[:40]!r}")
        return self._numbers[value]


class PlainClasses:
    """No classes: a message is a dict, an enum member its name."""

    def struct(self, descriptor: Descriptor) -> StructClass:
        """Return dicts."""
        return _Dict()

    def enum(self, descriptor: EnumDescriptor) -> EnumClass:
        """Return names."""
        return _Name(descriptor)
