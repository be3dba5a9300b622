"""Descriptors -> .proto text."""

from __future__ import annotations

from collections.abc import Container, Iterator

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message

from blazerpc.codegen.fields import field_type
from blazerpc.codegen.lock import SchemaLock
from blazerpc.codegen.schema import service_file
from blazerpc.runtime.registry import ModelRegistry
from blazerpc_client.wire.options import field_options, method_options


class ProtoGenerator:
    """Writes the .proto file of an app."""

    def generate(self, registry: ModelRegistry, lock: SchemaLock | None = None) -> str:
        """Return the text of ``blaze_service.proto``; protoc makes the app's own schema of it."""
        return proto_text(service_file(registry, lock))


def proto_text(file: FileDescriptorProto) -> str:
    """Return the .proto text of a file that ``codegen.schema`` has built."""
    lines = [f'syntax = "{file.syntax}";', "", f"package {file.package};", ""]
    lines += [f'import "{name}";' for name in file.dependency]
    for enum in file.enum_type:
        lines += ["", *_enum(enum)]
    for message in file.message_type:
        lines += ["", *_message(message)]
    for service in file.service:
        lines += ["", *_service(service)]
    return "\n".join(lines) + "\n"


def _enum(enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"enum {enum.name} {{"
    yield from _reserved(enum)
    for value in enum.value:
        yield f"  {value.name} = {value.number};"
    yield "}"


def _reserved(kind: DescriptorProto | EnumDescriptorProto) -> Iterator[str]:
    if kind.reserved_range:
        yield f"  reserved {', '.join(str(numbers.start) for numbers in kind.reserved_range)};"
        names = (f'"{name}"' for name in kind.reserved_name)
        yield f"  reserved {', '.join(names)};"


def _message(message: DescriptorProto) -> Iterator[str]:
    yield f"message {message.name} {{"
    yield from _reserved(message)
    for field in message.field:
        label, kind = "", field_type(message, field)
        if kind.startswith("map<"):
            pass  # a map is repeated by its nature
        elif field.label == FieldDescriptorProto.LABEL_REPEATED:
            label = "repeated "
        elif field.proto3_optional:
            label = "optional "
        options = _options(field_options(field.options))
        brackets = f" [{', '.join(options)}]" if options else ""
        yield f"  {label}{kind} {field.name} = {field.number}{brackets};"
    yield "}"


def _service(service: ServiceDescriptorProto) -> Iterator[str]:
    rpcs = {method.name for method in service.method}
    yield f"service {service.name} {{"
    for method in service.method:
        yield from _method(method, rpcs)
    yield "}"


def _method(method: MethodDescriptorProto, rpcs: Container[str]) -> Iterator[str]:
    def type_name(full_name: str) -> str:
        name = full_name.rpartition(".")[2]
        return full_name if name in rpcs else name  # an rpc hides a message of its name

    request, response = type_name(method.input_type), type_name(method.output_type)
    stream = "stream " if method.server_streaming else ""
    yield f"  rpc {method.name}({request}) returns ({stream}{response}) {{"
    for option in _options(method_options(method.options)):
        yield f"    option {option};"
    yield "  }"


def _options(options: Message) -> list[str]:
    """Return custom options as assignments: ``(blazerpc.tensor) = { dtype: "float" }``."""
    return [
        f"({option.full_name}) = {{ {text_format.MessageToString(value, as_one_line=True)} }}"
        for option, value in options.ListFields()
    ]
