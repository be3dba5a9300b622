"""Registry -> descriptors: the one source that all else is a view of."""

from __future__ import annotations

from typing import Final

from google.protobuf import descriptor_pb2, duration_pb2, text_format, timestamp_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from blazerpc.codegen.lock import SchemaLock
from blazerpc.exceptions import ConfigurationError
from blazerpc.rows import EnumRow, TimeRow, walk
from blazerpc.rows.base import add_field
from blazerpc.runtime.registry import ModelInfo, ModelRegistry
from blazerpc_client.naming import PACKAGE
from blazerpc_client.schema import RESULT, Schema
from blazerpc_client.wire.options import (
    OPTIONS_DESCRIPTOR,
    ModelOptions,
    write_model,
)
from blazerpc_client.wire.values import DURATION_MESSAGE, TIMESTAMP_MESSAGE

FILE_NAME: Final = "blaze_service.proto"
SERVICE: Final = "InferenceService"
SERVICE_NAME: Final = f"{PACKAGE}.{SERVICE}"

_DESCRIPTOR: Final = descriptor_pb2.DESCRIPTOR.name
_FILE_OF_TIME: Final = {
    TIMESTAMP_MESSAGE: timestamp_pb2.DESCRIPTOR.name,
    DURATION_MESSAGE: duration_pb2.DESCRIPTOR.name,
}

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


def build_schema(registry: ModelRegistry, lock: SchemaLock | None = None) -> Schema:
    """Return the app's schema: its own file and the two option files, in a pool of its own.

    Raises:
        ConfigurationError: when the lock does not fit.
    """
    file = service_file(registry, lock)
    known = {
        module.DESCRIPTOR.name: FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        for module in (descriptor_pb2, timestamp_pb2, duration_pb2)
    }
    imported = [known[name] for name in file.dependency if name in known]
    return Schema([known[_DESCRIPTOR], OPTIONS_DESCRIPTOR, *imported, file])


def service_file(registry: ModelRegistry, lock: SchemaLock | None = None) -> FileDescriptorProto:
    """Return the descriptor of the app's own file, with the numbers of ``lock`` if there is one.

    Raises:
        ConfigurationError: when a type has changed since it was locked, or something is new.
    """
    file = FileDescriptorProto()
    file.CopyFrom(_BASE)
    _add_classes(file, registry)
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
        if model.idempotent:
            method.options.idempotency_level = descriptor_pb2.MethodOptions.IDEMPOTENT
        write_model(method, ModelOptions(name=model.name, version=model.version, doc=model.doc))
    if lock is not None and lock.apply(file, _numbered(registry)) != lock:
        raise ConfigurationError(
            "the schema has what its lock has not; run blaze proto --lock, and commit the file"
        )
    return file


def updated(lock: SchemaLock, registry: ModelRegistry) -> SchemaLock:
    """Return the lock with all that is new in the app.

    Raises:
        ConfigurationError: when a type has changed since it was locked.
    """
    return lock.apply(service_file(registry), _numbered(registry))


def _numbered(registry: ModelRegistry) -> set[str]:
    """Return the names of enums whose members' values are their numbers."""
    rows = [row for model in registry.list_models() for row in model.classes]
    return {row.name for row in rows if isinstance(row, EnumRow) and row.is_numbered}


def method_full_name(model: ModelInfo) -> str:
    """Return package, service and rpc of a model, joined by dots."""
    return f"{SERVICE_NAME}.{model.rpc}"


def _add_classes(file: FileDescriptorProto, registry: ModelRegistry) -> None:
    """Add what the models' types are made of: messages, enums, and imports of protobuf's own."""
    models = registry.list_models()
    for row in {row.name: row for model in models for row in model.classes}.values():
        if isinstance(row, EnumRow):
            file.enum_type.append(row.definition())
        else:
            file.message_type.append(row.definition())
    parts = [part for model in models for row in model.rows for part in walk(row)]
    times = {part.message for part in parts if isinstance(part, TimeRow)}
    file.dependency.extend(_FILE_OF_TIME[message] for message in sorted(times))


def _add_messages(file: FileDescriptorProto, model: ModelInfo) -> None:
    request = file.message_type.add(name=f"{model.stem}Request")
    for name, row in model.parameters.items():
        default = row.default_json(model.defaults[name]) if name in model.defaults else None
        add_field(request, name, row, default)
    add_field(file.message_type.add(name=f"{model.stem}Response"), RESULT, model.result, None)
