"""Registry -> descriptors: the one source that all else is a view of."""

from __future__ import annotations

from typing import Final

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from blazerpc.rows import Row
from blazerpc.runtime.registry import ModelInfo, ModelRegistry
from blazerpc_client.schema import RESULT, Schema
from blazerpc_client.wire.options import (
    OPTIONS_DESCRIPTOR,
    ModelOptions,
    write_default,
    write_model,
)

FILE_NAME: Final = "blaze_service.proto"
PACKAGE: Final = "blazerpc"
SERVICE: Final = "InferenceService"
SERVICE_NAME: Final = f"{PACKAGE}.{SERVICE}"

_BASE: Final = text_format.Parse(
    """
    syntax: "proto3"
    dependency: "blazerpc/options.proto"
    message_type {
      name: "TensorProto"
      field { name: "shape" number: 1 type: TYPE_INT64 label: LABEL_REPEATED }
      field { name: "dtype" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
      field { name: "data" number: 3 type: TYPE_BYTES label: LABEL_OPTIONAL }
    }
    """,
    FileDescriptorProto(name=FILE_NAME, package=PACKAGE),
)


def build_schema(registry: ModelRegistry) -> Schema:
    """Return the app's schema: its own file and the two option files, in a pool of its own."""
    descriptor = FileDescriptorProto.FromString(descriptor_pb2.DESCRIPTOR.serialized_pb)
    return Schema([descriptor, OPTIONS_DESCRIPTOR, service_file(registry)])


def service_file(registry: ModelRegistry) -> FileDescriptorProto:
    """Return the descriptor of the app's own file."""
    file = FileDescriptorProto()
    file.CopyFrom(_BASE)
    service = file.service.add(name=SERVICE)
    for model in registry.list_models():
        _add_messages(file, model)
        method = service.method.add(
            name=model.rpc,
            input_type=f".{PACKAGE}.{model.stem}Request",
            output_type=f".{PACKAGE}.{model.stem}Response",
            # Unset and false are the same, but only unset is what protoc writes.
            server_streaming=True if model.streaming else None,
        )
        write_model(method, ModelOptions(name=model.name, version=model.version, doc=model.doc))
    return file


def method_full_name(model: ModelInfo) -> str:
    """Return package, service and rpc of a model, joined by dots."""
    return f"{SERVICE_NAME}.{model.rpc}"


def _add_messages(file: FileDescriptorProto, model: ModelInfo) -> None:
    request = file.message_type.add(name=f"{model.stem}Request")
    for name, row in model.parameters.items():
        field = _add_field(request, name, row)
        default = row.default_json(model.defaults[name]) if name in model.defaults else None
        if default is not None:
            write_default(field, default)
    _add_field(file.message_type.add(name=f"{model.stem}Response"), RESULT, model.result)


def _add_field(message: DescriptorProto, name: str, row: Row) -> FieldDescriptorProto:
    field = message.field.add(name=name, number=len(message.field) + 1)
    row.describe(field)
    if field.proto3_optional:
        # protoc puts an optional field alone into a oneof of this name, and so must we.
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    return field
