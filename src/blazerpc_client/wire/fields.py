"""One field of a message <-> one plain Python value, decided once from the field's descriptor.

Plain values are what a client sees: ``int``, ``float``, ``str``, ``bool``, ``bytes``, NumPy
arrays, times, message and enum classes, and lists and dicts of these. Server and client read and
write every field through these codecs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from blazerpc_client.naming import PACKAGE
from blazerpc_client.wire import large, values
from blazerpc_client.wire.depth import check_depth, is_recursive, too_deep
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import tensor_fields
from blazerpc_client.wire.malformed import refuse_retyped
from blazerpc_client.wire.options import read_allowed, read_default, read_tensor
from blazerpc_client.wire.scalars import SCALARS
from blazerpc_client.wire.tensors import Dims
from blazerpc_client.wire.values import (
    WRAPPERS,
    Classes,
    DurationValue,
    MessageValue,
    PlainClasses,
    RawValue,
    StructClass,
    TensorValue,
    TimestampValue,
    WrapperValue,
    empty_message,
    enum_value,
    literal_value,
)


class FieldCodec(ABC):
    """Reads one field of a message into a plain value, and writes it."""

    def __init__(self, field: FieldDescriptor) -> None:
        self.name: str = field.name
        #: Whether a value can be left out, and the server's default applies.
        self.omissible: bool = not is_required(field)

    @abstractmethod
    def read(self, message: Message, dims: Dims) -> object:
        """Return the field's value.

        Raises:
            WireError: naming the field, when the bytes hold no value of its type.
        """

    @abstractmethod
    def write(self, message: Message, value: object, dims: Dims) -> None:
        """Set the field.

        Raises:
            WireError: naming the field, when the value is not of its type.
        """


class RawField(FieldCodec):
    """One value that protobuf holds as it is."""

    def __init__(self, field: FieldDescriptor, value: RawValue) -> None:
        super().__init__(field)
        self._dump, self._load = value.dump, value.load

    def read(self, message: Message, dims: Dims) -> object:
        value: object = getattr(message, self.name)
        if self._load is None:
            return value
        try:
            return self._load(value)
        except WireError as error:
            raise error.at(self.name) from None

    def write(self, message: Message, value: object, dims: Dims) -> None:
        try:
            setattr(message, self.name, self._dump(value))
        except WireError as error:
            raise error.at(self.name) from None


class MessageField(FieldCodec):
    """One value that is a message."""

    def __init__(self, field: FieldDescriptor, value: MessageValue) -> None:
        super().__init__(field)
        self._value = value

    def read(self, message: Message, dims: Dims) -> object:
        if not message.HasField(self.name):
            raise WireError("missing", field=self.name)
        try:
            return self._value.load(getattr(message, self.name), dims)
        except WireError as error:
            raise error.at(self.name) from None

    def write(self, message: Message, value: object, dims: Dims) -> None:
        part = getattr(message, self.name)
        part.SetInParent()  # a message whose fields are all zero is there all the same
        try:
            self._value.fill(part, value, dims)
        except WireError as error:
            raise error.at(self.name) from None


class ListField(FieldCodec):
    """A list of values."""

    def __init__(self, field: FieldDescriptor, value: RawValue | MessageValue) -> None:
        super().__init__(field)
        self._value = value

    def read(self, message: Message, dims: Dims) -> object:
        raw = getattr(message, self.name)
        value = self._value
        if isinstance(value, MessageValue):
            return self._each(raw, lambda item: value.load(item, dims))
        return list(raw) if value.load is None else self._each(raw, value.load)

    def write(self, message: Message, value: object, dims: Dims) -> None:
        if value is None and self.omissible:
            return
        if not isinstance(value, list | tuple):
            raise WireError(f"expected list, got {type(value).__name__}", field=self.name)
        field, kind = getattr(message, self.name), self._value
        if isinstance(kind, MessageValue):
            self._each(value, lambda item: kind.fill(field.add(), item, dims))
        else:
            field.extend(self._each(value, kind.dump))

    def _each(self, items: Sequence[object], convert: Callable[[Any], object]) -> list[object]:
        converted: list[object] = []
        try:
            for item in items:
                converted.append(convert(item))  # noqa: PERF401 - its length is the failing index
        except WireError as error:
            raise error.at(f"{self.name}[{len(converted)}]") from None
        return converted


class MapField(FieldCodec):
    """A dict of values, by strings or integers."""

    def __init__(
        self, field: FieldDescriptor, key: RawValue, value: RawValue | MessageValue
    ) -> None:
        super().__init__(field)
        self._dump_key = key.dump
        self._value = value

    def read(self, message: Message, dims: Dims) -> object:
        raw, value = getattr(message, self.name), self._value
        if isinstance(value, MessageValue):
            return self._each(raw, lambda key: value.load(raw[key], dims))
        load = value.load
        return dict(raw) if load is None else self._each(raw, lambda key: load(raw[key]))

    def write(self, message: Message, value: object, dims: Dims) -> None:
        if value is None and self.omissible:
            return
        if not isinstance(value, dict):
            raise WireError(f"expected dict, got {type(value).__name__}", field=self.name)
        field, kind = getattr(message, self.name), self._value

        def put(key: Any) -> None:
            checked = self._dump_key(key)
            if isinstance(kind, MessageValue):
                kind.fill(field[checked], value[key], dims)
            else:
                field[checked] = kind.dump(value[key])

        self._each(value, put)

    def _each(self, keys: Mapping[Any, object], convert: Callable[[Any], object]) -> object:
        converted: dict[object, object] = {}
        for key in keys:
            try:
                converted[key] = convert(key)
            except WireError as error:
                shown = repr(key if isinstance(key, int) else str(key)[:40])
                raise error.at(f"{self.name}[{shown}]") from None
        return converted


class OptionalField(FieldCodec):
    """A field that may be absent, which is ``None``."""

    def __init__(self, field: FieldDescriptor, present: FieldCodec) -> None:
        super().__init__(field)
        self._present = present

    def read(self, message: Message, dims: Dims) -> object:
        return self._present.read(message, dims) if message.HasField(self.name) else None

    def write(self, message: Message, value: object, dims: Dims) -> None:
        if value is not None:
            self._present.write(message, value, dims)


def field_codec(field: FieldDescriptor, classes: Classes | None = None) -> FieldCodec:
    """Return the codec of ``field``.

    Raises:
        WireError: when this version has no Python type for such a field.
    """
    classes = classes or PlainClasses()
    if is_map(field):
        entry = _message_type(field).fields_by_name
        key, value = _value(entry["key"], field, classes), _value(entry["value"], field, classes)
        assert isinstance(key, RawValue)  # protobuf allows no other keys
        return MapField(field, key, value)
    value = _value(field, field, classes)
    if field.is_repeated:
        return ListField(field, value)
    codec: FieldCodec = (
        MessageField(field, value) if isinstance(value, MessageValue) else RawField(field, value)
    )
    return OptionalField(field, codec) if is_optional(field) else codec


def _message_type(field: FieldDescriptor) -> Descriptor:
    assert field.message_type is not None
    return field.message_type


def is_optional(field: FieldDescriptor) -> bool:
    """Return whether the field may be absent, and is then ``None``.

    What a BlazeRPC server defines has all fields but those declared ``optional``. Elsewhere
    whatever has presence may be absent: messages, members of a oneof, most fields of proto2.
    """
    if is_own(field):
        return field.containing_oneof is not None
    return field.has_presence and not field.is_required


def is_required(field: FieldDescriptor) -> bool:
    """Return whether a message without the field is none."""
    if is_own(field):
        return not is_optional(field) and read_default(field) is None
    return field.is_required


def is_own(field: FieldDescriptor) -> bool:
    """Return whether the field is one of a message that a BlazeRPC server defines."""
    assert field.containing_type is not None
    return field.containing_type.file.package == PACKAGE


def is_map(field: FieldDescriptor) -> bool:
    """Return whether the field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _value(
    field: FieldDescriptor, outer: FieldDescriptor, classes: Classes
) -> RawValue | MessageValue:
    """Return what one value of ``field`` is; ``outer`` has the options, for a map's values too."""
    if field.type == FieldDescriptor.TYPE_ENUM:
        assert field.enum_type is not None
        return enum_value(field.enum_type, classes.enum(field.enum_type))
    if field.message_type is not None:
        match field.message_type.full_name:
            case large.TENSOR_MESSAGE:
                return TensorValue(read_tensor(outer))
            case values.TIMESTAMP_MESSAGE:
                return TimestampValue()
            case values.DURATION_MESSAGE:
                return DurationValue()
        wrapped = WRAPPERS.get(field.message_type.full_name)
        if wrapped is not None:
            return WrapperValue(wrapped)
        return StructValue(field.message_type, classes)
    allowed = read_allowed(outer)
    if allowed and field.type == FieldDescriptor.TYPE_STRING and field.name != "key":
        return literal_value(allowed)
    scalar = SCALARS.get(field.type)
    if scalar is None:
        raise WireError("a field of this kind is not supported", field=field.full_name)
    return RawValue(scalar.convert)


class FieldSet:
    """All fields of one message type."""

    def __init__(self, descriptor: Descriptor, classes: Classes, noun: str) -> None:
        self._noun = noun
        self._is_own = descriptor.file.package == PACKAGE
        self.codecs: dict[str, FieldCodec] = {
            field.name: field_codec(field, classes) for field in descriptor.fields
        }
        self._choices = [
            [field.name for field in oneof.fields]
            for oneof in descriptor.oneofs
            if len(oneof.fields) > 1
        ]

    def fill(self, message: Message, values: Mapping[str, object], dims: Dims) -> None:
        """Set the fields of ``message``.

        Raises:
            WireError: naming a field that is missing, not known, or of another type.
        """
        if values.keys() != self.codecs.keys():
            self._check_names(values)
        for names in self._choices:
            given = [name for name in names if values.get(name) is not None]
            if len(given) > 1:
                raise WireError(f"{given[0]} is given too, and only one can be", field=given[1])
        for name, value in values.items():
            self.codecs[name].write(message, value, dims)

    def load(self, message: Message, dims: Dims) -> dict[str, object]:
        """Return the value of every field.

        Raises:
            WireError: naming the first field that holds no value of its type.
        """
        if self._is_own:
            refuse_retyped(message)
        return {name: codec.read(message, dims) for name, codec in self.codecs.items()}

    def _check_names(self, values: Mapping[str, object]) -> None:
        takes = ", ".join(self.codecs)
        for name in values:
            if name not in self.codecs:
                raise WireError(f"no such {self._noun}; there are: {takes}", field=str(name)[:40])
        for name, codec in self.codecs.items():
            if name not in values and not codec.omissible:
                raise WireError("missing", field=name)


class StructValue(MessageValue):
    """A message of a class."""

    def __init__(self, descriptor: Descriptor, classes: Classes) -> None:
        self._descriptor = descriptor
        self._classes = classes
        self._class: StructClass = classes.struct(descriptor)

    @cached_property
    def _fields(self) -> FieldSet:
        # Not before it is needed: a message type may hold itself.
        return FieldSet(self._descriptor, self._classes, "field")

    def load(self, message: Message, dims: Dims) -> object:
        return self._class.make(self._fields.load(message, dims))

    def fill(self, message: Message, value: object, dims: Dims) -> None:
        self._fields.fill(message, self._class.take(value), dims)


class MessageCodec:
    """Messages of one type.

    Args:
        descriptor: of the message type.
        message_class: of google.protobuf, made from that descriptor.
        classes: of the messages and enums inside.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        message_class: type[Message],
        classes: Classes | None = None,
    ) -> None:
        self._fields = FieldSet(descriptor, classes or PlainClasses(), "parameter")
        self._has_tensors = bool(tensor_fields(descriptor))
        self._message_class = message_class
        self._is_recursive = is_recursive(descriptor)
        self.fields: dict[str, FieldCodec] = self._fields.codecs

    def encode(self, values: Mapping[str, object], dims: Dims) -> Message:
        """Return a message of ``values``, one for each field that cannot be left out.

        Raises:
            WireError: naming a field that is missing, not known, or of another type.
        """
        return self._filled(self._message_class(), values, dims)

    def encode_to_send(self, values: Mapping[str, object], dims: Dims) -> Message:
        """Return the same, with large tensors beside the message.

        Raises:
            WireError: likewise.
        """
        if not self._has_tensors:
            return self.encode(values, dims)
        return self._filled(empty_message(self._message_class, values.values()), values, dims)

    def _filled(self, message: Message, values: Mapping[str, object], dims: Dims) -> Message:
        try:
            self._fields.fill(message, values, dims)
        except RecursionError:
            raise too_deep() from None
        if self._is_recursive:
            check_depth(message)
        return message

    def decode(self, message: Message, dims: Dims) -> dict[str, object]:
        """Return the value of every field.

        Raises:
            WireError: naming the first field that holds no value of its type.
        """
        return self._fields.load(message, dims)
