"""A field's type as .proto text has it."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from blazerpc_client.naming import PACKAGE
from blazerpc_client.wire.scalars import SCALARS


def field_type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    """Return the type of a field of ``message``, without its label."""
    for entry in message.nested_type:
        if field.type_name == f".{PACKAGE}.{message.name}.{entry.name}":
            key, value = entry.field
            return f"map<{_type(key)}, {_type(value)}>"
    return _type(field)


def _type(field: FieldDescriptorProto) -> str:
    # The full name: inside a message, a field of the type's name would hide the type.
    return field.type_name or SCALARS[field.type].name
