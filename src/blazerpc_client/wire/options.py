"""The custom options of ``blazerpc/options.proto``: descriptor, writers, readers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
)
from google.protobuf.message import Message

from blazerpc_client.wire.dtypes import dtype_of, wire_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.tensors import MAX_SIZE, TensorSpec

#: The name under which the file is imported and reflected.
OPTIONS_FILE: Final = "blazerpc/options.proto"

#: The descriptor of options.proto, which lies beside this module for people and for protoc.
OPTIONS_DESCRIPTOR: Final = text_format.Parse(
    """
    name: "blazerpc/options.proto" package: "blazerpc" syntax: "proto3"
    dependency: "google/protobuf/descriptor.proto"
    message_type {
      name: "TensorOptions"
      field { name: "dtype" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "dtype" }
      field { name: "shape" number: 2 type: TYPE_STRING label: LABEL_REPEATED json_name: "shape" }
    }
    message_type {
      name: "ModelOptions"
      field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "name" }
      field { name: "version" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL
              json_name: "version" }
      field { name: "doc" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "doc" }
    }
    message_type {
      name: "ParamOptions"
      field { name: "default" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL json_name: "default"
              proto3_optional: true oneof_index: 0 }
      field { name: "allowed_values" number: 2 type: TYPE_STRING label: LABEL_REPEATED
              json_name: "allowedValues" }
      oneof_decl { name: "_default" }
    }
    extension {
      name: "tensor" number: 51001 type: TYPE_MESSAGE label: LABEL_OPTIONAL json_name: "tensor"
      extendee: ".google.protobuf.FieldOptions" type_name: ".blazerpc.TensorOptions"
    }
    extension {
      name: "param" number: 51002 type: TYPE_MESSAGE label: LABEL_OPTIONAL json_name: "param"
      extendee: ".google.protobuf.FieldOptions" type_name: ".blazerpc.ParamOptions"
    }
    extension {
      name: "model" number: 51001 type: TYPE_MESSAGE label: LABEL_OPTIONAL json_name: "model"
      extendee: ".google.protobuf.MethodOptions" type_name: ".blazerpc.ModelOptions"
    }
    """,
    FileDescriptorProto(),
)

# A pool of our own: the default one is global, and a process may hold many schemas.
_pool = descriptor_pool.DescriptorPool()
_pool.AddSerializedFile(descriptor_pb2.DESCRIPTOR.serialized_pb)
_pool.AddSerializedFile(OPTIONS_DESCRIPTOR.SerializeToString())
_FieldOptions = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName("google.protobuf.FieldOptions")
)
_MethodOptions = message_factory.GetMessageClass(
    _pool.FindMessageTypeByName("google.protobuf.MethodOptions")
)
# Message classes made at run time have no types to check: Any stays in this module.
_TENSOR: Any = _pool.FindExtensionByName("blazerpc.tensor")
_PARAM: Any = _pool.FindExtensionByName("blazerpc.param")
_MODEL: Any = _pool.FindExtensionByName("blazerpc.model")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model a method calls, and its documentation."""

    name: str
    version: str
    doc: str


def write_tensor(field: FieldDescriptorProto, spec: TensorSpec) -> None:
    """Add ``(blazerpc.tensor)`` to ``field``."""
    options = field_options(field.options)
    options.Extensions[_TENSOR].dtype = wire_name(spec.dtype)
    options.Extensions[_TENSOR].shape.extend(map(str, spec.shape))
    # Two pools, two FieldOptions classes: what one wrote reaches the other as bytes.
    field.options.ParseFromString(options.SerializeToString())


def write_default(field: FieldDescriptorProto, json: str) -> None:
    """Add the default, as JSON, to ``(blazerpc.param)`` of ``field``."""
    options = field_options(field.options)
    options.Extensions[_PARAM].default = json
    field.options.ParseFromString(options.SerializeToString())


def write_allowed(field: FieldDescriptorProto, values: Sequence[str]) -> None:
    """Add what a string may be to ``(blazerpc.param)`` of ``field``."""
    options = field_options(field.options)
    options.Extensions[_PARAM].allowed_values.extend(values)
    field.options.ParseFromString(options.SerializeToString())


def write_model(method: MethodDescriptorProto, model: ModelOptions) -> None:
    """Add ``(blazerpc.model)`` to ``method``."""
    options = _MethodOptions()
    options.Extensions[_MODEL].name = model.name
    options.Extensions[_MODEL].version = model.version
    options.Extensions[_MODEL].doc = model.doc
    method.options.MergeFromString(options.SerializeToString())


def read_tensor(field: FieldDescriptor) -> TensorSpec | None:
    """Return what ``(blazerpc.tensor)`` says of ``field``, None where the option is absent.

    Raises:
        WireError: when it names a dtype that this version does not know.
    """
    options = field_options(field.GetOptions())
    if not options.HasExtension(_TENSOR):
        return None
    tensor = options.Extensions[_TENSOR]
    return TensorSpec(dtype_of(tensor.dtype), tuple(map(_dimension, tensor.shape)))


def _dimension(text: str) -> int | str:
    if not text.isdecimal():
        return text
    if len(text) > len(str(MAX_SIZE)) or int(text) > MAX_SIZE:
        raise WireError(f"no array has a dimension of {text[:40]}")
    return int(text)


def read_default(field: FieldDescriptor) -> str | None:
    """Return the default of ``field`` as JSON, None when the schema names none."""
    options = field_options(field.GetOptions())
    param = options.Extensions[_PARAM]
    return param.default if param.HasField("default") else None


def read_allowed(field: FieldDescriptor) -> tuple[str, ...]:
    """Return what the string in ``field`` may be, nothing when it may be anything."""
    return tuple(field_options(field.GetOptions()).Extensions[_PARAM].allowed_values)


def read_model(method: MethodDescriptor) -> ModelOptions | None:
    """Return what ``(blazerpc.model)`` says of ``method``, None where the option is absent."""
    options = method_options(method.GetOptions())
    if not options.HasExtension(_MODEL):
        return None
    model = options.Extensions[_MODEL]
    return ModelOptions(name=model.name, version=model.version, doc=model.doc)


def is_idempotent(method: MethodDescriptor) -> bool:
    """Return whether protobuf's own ``idempotency_level`` says that a call may run twice."""
    return bool(method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN)


def field_options(options: Message) -> Message:
    """Return the same FieldOptions as a message that knows the custom ones."""
    return _FieldOptions.FromString(options.SerializeToString())


def method_options(options: Message) -> Message:
    """Return the same MethodOptions as a message that knows the custom ones."""
    return _MethodOptions.FromString(options.SerializeToString())
