"""Message dataclasses <-> protobuf messages. The only module that knows betterproto2.

A generated dataclass is a ``betterproto2.Message`` whose fields are plain Python and NumPy values.
Its bytes are made and read by google.protobuf: betterproto2's own codec wraps integers that are out
of range, takes truncated input, and is slow.
"""

# No `from __future__ import annotations` here: betterproto2 evaluates the annotations of base
# classes in the module of the generated subclass, where names of this module mean nothing.
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Protocol, Self

import betterproto2
import numpy as np
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from blazerpc_client.errors import InvalidArgument, arguments_checked
from blazerpc_client.wire.dtypes import wire_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import MessageCodec
from blazerpc_client.wire.malformed import malformed_field


def field(number: int, proto: str, *, repeated: bool = False, optional: bool = False) -> Any:
    """Return a dataclass field of the scalar type that protobuf calls ``proto``.

    The result is typed ``Any``, as that of ``dataclasses.field`` is in effect: it stands where a
    value of the annotated type is expected.
    """
    return betterproto2.field(number, proto, repeated=repeated, optional=optional)


def tensor_field(number: int, *, optional: bool = False) -> Any:
    """Return a dataclass field that holds an array, ``TensorProto`` on the wire."""
    return betterproto2.field(number, betterproto2.TYPE_MESSAGE, optional=optional)


class SupportsRead(Protocol):
    """What can be read from, such as a file that is open for bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most ``size`` bytes, all when there is no ``size``."""


@dataclass(eq=False, repr=False)
class Message(betterproto2.Message):
    """Base of generated message dataclasses.

    ``bytes(message)`` and ``parse(data)`` are the wire format, ``to_dict()`` and ``to_json()`` the
    JSON one. Two messages are equal when they are of one class and all their fields are.
    """

    #: Of the message type; set by the generated subclass.
    DESCRIPTOR: ClassVar[Descriptor]

    def __bytes__(self) -> bytes:
        """Return the wire format.

        Raises:
            InvalidArgument: when a field holds what the schema does not allow.
        """
        return self._to_protobuf().SerializeToString(deterministic=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the message that ``data`` holds.

        Raises:
            InvalidArgument: when it holds none of this type.
        """
        message_class = message_factory.GetMessageClass(cls.DESCRIPTOR)
        try:
            message = message_class.FromString(data)
        except DecodeError:
            at = malformed_field(data, cls.DESCRIPTOR)
            with arguments_checked():
                raise WireError("not a valid protobuf message", field=at) from None
        return cls._from_protobuf(message)

    def load(self, stream: SupportsRead, size: int | None = None) -> Self:
        """Take the values of the message that ``stream`` holds to its end, or for ``size`` bytes.

        Raises:
            InvalidArgument: when it holds none of this type.
        """
        if size == betterproto2.SIZE_DELIMITED:
            size, _ = betterproto2.load_varint(stream)
        parsed = self.parse(stream.read() if size is None else stream.read(size))
        for name in self._names():
            setattr(self, name, getattr(parsed, name))
        return self

    def to_dict(
        self,
        *,
        output_format: betterproto2.OutputFormat = betterproto2.OutputFormat.PROTO_JSON,
        casing: betterproto2.Casing = betterproto2.Casing.CAMEL,
        include_default_values: bool = False,
    ) -> dict[str, Any]:
        """Return protobuf's JSON form, https://protobuf.dev/programming-guides/json/.

        Args:
            output_format: ``PROTO_JSON`` is the only one: Python values are the attributes.
            casing: of the names; ``SNAKE`` gives those of the schema.
            include_default_values: also of fields that have the value zero.

        Raises:
            InvalidArgument: when a field holds what the schema does not allow.
        """
        if output_format is not betterproto2.OutputFormat.PROTO_JSON:
            raise InvalidArgument("output_format: only PROTO_JSON", field="output_format")
        return json_format.MessageToDict(
            self._to_protobuf(),
            preserving_proto_field_name=casing is betterproto2.Casing.SNAKE,
            always_print_fields_with_no_presence=include_default_values,
        )

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, ignore_unknown_fields: bool = False) -> Self:
        """Return the message that protobuf's JSON form describes.

        Raises:
            InvalidArgument: when it describes none of this type.
        """
        message = message_factory.GetMessageClass(cls.DESCRIPTOR)()
        try:
            json_format.ParseDict(dict(value), message, ignore_unknown_fields)
        except json_format.ParseError as error:
            raise InvalidArgument(str(error)) from None
        return cls._from_protobuf(message)

    def is_set(self, name: str) -> bool:
        """Return whether a field has another value than its default.

        Raises:
            AttributeError: when there is no such field.
        """
        defaults = [f.default_factory for f in fields(self) if f.name == name]
        if not defaults:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        (default,) = defaults
        assert default is not MISSING  # betterproto2.field always gives one
        return not _equal(getattr(self, name), default())

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in self._names())

    __hash__ = None  # type: ignore[assignment]  # mypy expects a method, Python's data model says None

    def __bool__(self) -> bool:
        return any(self.is_set(name) for name in self._names())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names())
        return f"{type(self).__name__}({fields})"

    def _to_protobuf(self) -> ProtobufMessage:
        codec, names = _codec(type(self))
        with arguments_checked():
            return codec.encode({wire: getattr(self, name) for wire, name in names.items()}, {})

    @classmethod
    def _from_protobuf(cls, message: ProtobufMessage) -> Self:
        codec, names = _codec(cls)
        with arguments_checked():
            values = codec.decode(message, {})
        return cls(**{names[wire]: value for wire, value in values.items()})

    @classmethod
    def _names(cls) -> list[str]:
        return list(_codec(cls)[1].values())


@cache
def _codec(message_class: type[Message]) -> tuple[MessageCodec, dict[str, str]]:
    """Return the codec of a class, and its attributes by their names on the wire."""
    descriptor = message_class.DESCRIPTOR
    attributes = {
        betterproto2.FieldMetadata.get(field).number: field.name for field in fields(message_class)
    }
    names = {field.name: attributes[field.number] for field in descriptor.fields}
    return MessageCodec(descriptor, message_factory.GetMessageClass(descriptor)), names


def _equal(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        inexact = left.dtype.kind in "fc"
        same = left.dtype == right.dtype or wire_name(left.dtype) == wire_name(right.dtype)
        return same and np.array_equal(left, right, equal_nan=inexact)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return False
    # As betterproto2 has it: a message that holds NaN equals itself.
    return bool(left == right) or bool(left != left and right != right)
