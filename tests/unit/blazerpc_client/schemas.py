"""Schemas of any shape, as a server of any make could reflect them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import Message

from blazerpc_client.schema import Schema
from blazerpc_client.specs import ServiceSpec, service_spec
from blazerpc_client.wire.options import (
    OPTIONS_DESCRIPTOR,
    ModelOptions,
    write_default,
    write_model,
    write_tensor,
)
from blazerpc_client.wire.tensors import TensorSpec

#: A scalar by protobuf's name ("string", "repeated int32"), a message by its full name with a dot
#: before it, or a tensor.
Kind = str | TensorSpec

TENSOR = ".blazerpc.TensorProto"
SERVICE = "blazerpc.InferenceService"


def tensor(dtype: Any, *shape: int | str) -> TensorSpec:
    return TensorSpec(np.dtype(dtype), shape)


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model with its messages: ``PredictEcho(EchoRequest) returns (EchoResponse)``.

    Attributes:
        optional: names of the parameters, or "result", that may be absent.
        defaults: as JSON, by parameter.
    """

    parameters: Mapping[str, Kind] = field(default_factory=lambda: {"text": "string"})
    result: Kind = "string"
    stem: str = "Echo"
    name: str = "echo"
    version: str = "1"
    doc: str = ""
    streaming: bool = False
    optional: Collection[str] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)


def service_file(
    *models: Model, service: str = "InferenceService", package: str = "blazerpc"
) -> FileDescriptorProto:
    file = FileDescriptorProto(name=f"{package}/{service}.proto", package=package, syntax="proto3")
    file.dependency.extend(["blazerpc/options.proto", "tensor.proto"])
    descriptor = file.service.add(name=service)
    for model in models:
        request = file.message_type.add(name=f"{model.stem}Request")
        for name, kind in model.parameters.items():
            parameter = add_field(request, name, kind)
            if name in model.defaults:
                write_default(parameter, model.defaults[name])
        response = file.message_type.add(name=f"{model.stem}Response")
        add_field(response, "result", model.result)
        for message in (request, response):
            _make_optional(message, model.optional)
        method = descriptor.method.add(
            name=f"Predict{model.stem}",
            input_type=f".{package}.{model.stem}Request",
            output_type=f".{package}.{model.stem}Response",
            server_streaming=model.streaming,
        )
        options = ModelOptions(name=model.name, version=model.version, doc=model.doc)
        write_model(method, options)
    return file


def add_field(message: DescriptorProto, name: str, kind: Kind) -> FieldDescriptorProto:
    descriptor = message.field.add(
        name=name, number=len(message.field) + 1, label=FieldDescriptorProto.LABEL_OPTIONAL
    )
    if isinstance(kind, TensorSpec):
        write_tensor(descriptor, kind)
        kind = TENSOR
    if kind.startswith("repeated "):
        descriptor.label = FieldDescriptorProto.LABEL_REPEATED
        kind = kind.removeprefix("repeated ")
    if kind.startswith("."):
        descriptor.type = FieldDescriptorProto.TYPE_MESSAGE
        descriptor.type_name = kind
    else:
        descriptor.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    return descriptor


def _make_optional(message: DescriptorProto, names: Collection[str]) -> None:
    for descriptor in message.field:
        if descriptor.name in names:
            descriptor.proto3_optional = True
            descriptor.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{descriptor.name}")


def tensor_file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="tensor.proto", package="blazerpc", syntax="proto3")
    message = file.message_type.add(name="TensorProto")
    add_field(message, "shape", "repeated int64")
    add_field(message, "dtype", "string")
    add_field(message, "data", "bytes")
    return file


def schema_of_files(*files: FileDescriptorProto) -> Schema:
    """Return a schema of ``files`` and of what all of them may import."""
    protobuf = FileDescriptorProto.FromString(descriptor_pb2.DESCRIPTOR.serialized_pb)
    return Schema([protobuf, OPTIONS_DESCRIPTOR, tensor_file(), *files])


def schema_of(*models: Model) -> Schema:
    return schema_of_files(service_file(*models))


def spec_of(*models: Model) -> tuple[Schema, ServiceSpec]:
    schema = schema_of(*models)
    return schema, service_spec(schema, SERVICE)


def message_class(schema: Schema, name: str) -> type[Message]:
    return message_factory.GetMessageClass(schema.message(f"blazerpc.{name}"))
