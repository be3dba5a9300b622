"""Message dataclasses <-> protobuf messages. The only module that knows betterproto2.

A generated dataclass is a ``betterproto2.Message`` whose fields are plain Python and NumPy values.
Its bytes are made and read by google.protobuf: betterproto2's own codec wraps integers that are out
of range, takes truncated input, and is slow.
"""

# No `from __future__ import annotations` here: betterproto2 evaluates the annotations of base
# classes in the module of the generated subclass, where names of this module mean nothing.
import copy
import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Protocol, Self, dataclass_transform

import betterproto2
import numpy as np
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as ProtobufMessage

from blazerpc_client.errors import InvalidArgument, arguments_checked
from blazerpc_client.wire.dtypes import wire_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import MessageCodec
from blazerpc_client.wire.malformed import malformed_field
from blazerpc_client.wire.values import Classes, EnumClass, PlainClasses, StructClass


def field(
    number: int,
    proto: str,
    *,
    repeated: bool = False,
    optional: bool = False,
    key: str | None = None,
    oneof: str | None = None,
    default: Any = MISSING,
    default_factory: Any = MISSING,
) -> Any:
    """Return a dataclass field of the type that protobuf calls ``proto``.

    The result is typed ``Any``, as that of ``dataclasses.field`` is in effect: it stands where a
    value of the annotated type is expected.

    Args:
        number: on the wire.
        proto: the type of one value: a scalar's name, ``message`` or ``enum``.
        repeated: whether the field is a list.
        optional: whether it may be absent.
        key: the type of a map's keys; ``proto`` is then that of its values.
        oneof: the group of fields of which only one is there.
        default: the value of a field that is not given; one without must be given.
        default_factory: likewise, called for each instance.
    """
    made = betterproto2.field(
        number,
        proto if key is None else betterproto2.TYPE_MAP,
        repeated=repeated,
        optional=optional,
        group=oneof,
        map_meta=None if key is None else betterproto2.map_meta(key, proto),
    )
    return dataclasses.field(
        default=default, default_factory=default_factory, metadata=made.metadata
    )


class SupportsRead(Protocol):
    """What can be read from, such as a file that is open for bytes."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most ``size`` bytes, all when there is no ``size``."""


class Enum(betterproto2.Enum):
    """Base of generated enums: integers, those that this version has no name for included."""


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
@dataclass(eq=False, repr=False, kw_only=True)
class Message(betterproto2.Message):
    """Base of generated messages; each is a dataclass that takes keywords.

    ``bytes(message)`` and ``parse(data)`` are the wire format, ``to_dict()`` and ``to_json()`` the
    JSON one. Two messages are equal when they are of one class and all their fields are.
    """

    #: Of the message type; set by the generated subclass.
    DESCRIPTOR: ClassVar[Descriptor]

    #: The classes of the messages and enums inside; set by ``GeneratedClasses``.
    CLASSES: ClassVar[Classes] = PlainClasses()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(eq=False, repr=False, kw_only=True)(cls)

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
        found = [field for field in fields(self) if field.name == name]
        if not found:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}")
        default = found[0].default
        if found[0].default_factory is not MISSING:
            default = found[0].default_factory()
        return default is MISSING or not _equal(getattr(self, name), default)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in self._names())

    __hash__ = None  # type: ignore[assignment]  # mypy expects a method, Python's data model says None

    def __bool__(self) -> bool:
        return any(self.is_set(name) for name in self._names())

    def __copy__(self, _: Any = None) -> Self:
        return type(self)(**{name: getattr(self, name) for name in self._names()})

    def __deepcopy__(self, memo: Any = None) -> Self:
        return type(self)(
            **{name: copy.deepcopy(getattr(self, name), memo) for name in self._names()}
        )

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names())
        return f"{type(self).__name__}({fields})"

    def _to_protobuf(self) -> ProtobufMessage:
        with arguments_checked():
            return _codec(type(self)).encode(self._values(), {})

    @classmethod
    def _from_protobuf(cls, message: ProtobufMessage) -> Self:
        with arguments_checked():
            return cls._of(_codec(cls).decode(message, {}))

    def _values(self) -> dict[str, object]:
        """Return the value of each field by its name on the wire."""
        return {wire: getattr(self, name) for wire, name in _attributes(type(self)).items()}

    @classmethod
    def _of(cls, values: dict[str, object]) -> Self:
        """Return the message of these values; a field that is absent has its default."""
        attributes = _attributes(cls)
        absent = {field.name for field in fields(cls) if not _required(field)}
        return cls(
            **{
                attributes[wire]: value
                for wire, value in values.items()
                if value is not None or attributes[wire] not in absent
            }
        )

    @classmethod
    def _names(cls) -> list[str]:
        return list(_attributes(cls).values())


class GeneratedClasses:
    """The classes of a generated package, by the full names of their types."""

    def __init__(self, classes: Mapping[str, type[Message] | type[Enum]]) -> None:
        self._structs = {
            name: _Struct(kind) for name, kind in classes.items() if issubclass(kind, Message)
        }
        self._enums = {
            name: _Members(kind) for name, kind in classes.items() if issubclass(kind, Enum)
        }
        for struct in self._structs.values():
            struct.kind.CLASSES = self

    def struct(self, descriptor: Descriptor) -> StructClass:
        """Return the class of a message type."""
        return self._structs[descriptor.full_name]

    def enum(self, descriptor: EnumDescriptor) -> EnumClass:
        """Return the class of an enum."""
        return self._enums[descriptor.full_name]


class _Struct:
    """A generated message class."""

    def __init__(self, kind: type[Message]) -> None:
        self.kind = kind

    def make(self, values: dict[str, object]) -> object:
        return self.kind._of(values)

    def take(self, value: object) -> Mapping[str, object]:
        if not isinstance(value, self.kind):
            raise WireError(f"expected {self.kind.__name__}, got {type(value).__name__}")
        return value._values()


class _Members:
    """A generated enum."""

    def __init__(self, kind: type[Enum]) -> None:
        self._kind = kind

    def make(self, number: int) -> object:
        return self._kind(number)

    def take(self, value: object) -> int:
        if not isinstance(value, self._kind):
            raise WireError(f"expected {self._kind.__name__}, got {type(value).__name__}")
        return int(value)


@cache
def _codec(message_class: type[Message]) -> MessageCodec:
    descriptor = message_class.DESCRIPTOR
    return MessageCodec(
        descriptor, message_factory.GetMessageClass(descriptor), message_class.CLASSES
    )


@cache
def _attributes(message_class: type[Message]) -> dict[str, str]:
    """Return the attributes of a class by their names on the wire."""
    names = {
        betterproto2.FieldMetadata.get(field).number: field.name for field in fields(message_class)
    }
    return {field.name: names[field.number] for field in message_class.DESCRIPTOR.fields}


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _equal(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        # ml_dtypes' bfloat16 is a kind of its own to NumPy.
        inexact = left.dtype.kind in "fc" or left.dtype.name == "bfloat16"
        same = left.dtype == right.dtype or wire_name(left.dtype) == wire_name(right.dtype)
        return same and np.array_equal(left, right, equal_nan=inexact)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return False
    # As betterproto2 has it: a message that holds NaN equals itself.
    return bool(left == right) or bool(left != left and right != right)
