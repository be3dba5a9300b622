"""Bytes that are no message of a type: which field is wrong.

``malformed_field`` runs only after protobuf refused the bytes. ``refuse_retyped`` sees what
protobuf lets pass: a field that came as another kind of value is to it one that it does not know.
"""

from __future__ import annotations

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import LargeMessage

# Wire types, https://protobuf.dev/programming-guides/encoding/#structure
_VARINT, _I64, _LEN, _SGROUP, _EGROUP, _I32 = range(6)
_FIXED_SIZES = {_I64: 8, _I32: 4}

_NOT_VARINT = {
    FieldDescriptor.TYPE_BYTES,
    FieldDescriptor.TYPE_DOUBLE,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
    FieldDescriptor.TYPE_FLOAT,
    FieldDescriptor.TYPE_SFIXED32,
    FieldDescriptor.TYPE_SFIXED64,
}

# The bytes are a stranger's: a hint is not worth walking through millions of fields.
_MAX_FIELDS = 1000
_MAX_DEPTH = 20


class _CorruptError(Exception):
    """The bytes end early or hold an impossible tag."""


def malformed_field(data: bytes, descriptor: Descriptor) -> str | None:
    """Return the path of the first field of ``data`` that is cut short or no valid UTF-8.

    Returns None when the fault lies between fields, in one that the schema does not know, or too
    far in to be worth the search.
    """
    path = _fault(data, descriptor, 0)
    return ".".join(path) if path else None


def _fault(data: bytes, descriptor: Descriptor, depth: int) -> list[str] | None:
    """Return the names on the way to the fault, None when there is none."""
    position = 0
    for _ in range(_MAX_FIELDS):
        if position >= len(data) or depth > _MAX_DEPTH:
            break
        field: FieldDescriptor | None = None
        try:
            tag, position = _varint(data, position)
            if tag >> 3 == 0:  # no field has that number
                raise _CorruptError
            field = descriptor.fields_by_number.get(tag >> 3)
            payload, position = _payload(data, position, tag & 7)
            inner = _fault_in(payload, field, depth) if field and tag & 7 == _LEN else None
        except _CorruptError:
            return [] if field is None else [field.name]
        if field is not None and inner is not None:
            return [field.name, *inner]
    return None


def _fault_in(payload: bytes, field: FieldDescriptor, depth: int) -> list[str] | None:
    """Return the names from inside the field to the fault in its payload, None without one."""
    if field.message_type is not None:
        return _fault(payload, field.message_type, depth + 1)
    if field.type == FieldDescriptor.TYPE_STRING:
        return None if _is_utf8(payload) else []
    if field.is_repeated and field.type not in _NOT_VARINT:
        position = 0
        while position < len(payload):
            _, position = _varint(payload, position)
    return None


def _payload(data: bytes, position: int, wire_type: int) -> tuple[bytes, int]:
    if wire_type == _VARINT:
        _, end = _varint(data, position)
        return b"", end
    if wire_type == _LEN:
        size, position = _varint(data, position)
    elif wire_type in _FIXED_SIZES:
        size = _FIXED_SIZES[wire_type]
    else:  # groups are not in proto3
        raise _CorruptError
    if position + size > len(data):
        raise _CorruptError
    return data[position : position + size], position + size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _CorruptError


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def refuse_retyped(message: Message) -> None:
    """Raise for a field that has come as a value of another type than the schema's.

    Who sent it has another schema. Numbers that the schema does not have are newer fields.

    Raises:
        WireError: naming the field.
    """
    unknown = UnknownFieldSet(message.light if isinstance(message, LargeMessage) else message)
    for index in range(len(unknown)):
        field = message.DESCRIPTOR.fields_by_number.get(unknown[index].field_number)
        if field is not None:
            raise WireError(
                "has another type in the sender's schema; generate the client again",
                field=field.name,
            )
