"""Descriptors -> what they say of a service, as plain values, and as compiled methods.

A ``Schema`` holds descriptors in a pool of its own. The generator reads ``ServiceSpec`` values
from it; a client takes ``UnaryMethod`` and ``StreamMethod`` objects from it, which know how to
turn arguments into bytes and bytes into results.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, Generic, TypeVar, cast

import numpy as np
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import (
    Descriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message

from blazerpc_client.errors import arguments_checked, response_checked
from blazerpc_client.naming import (
    client_name,
    is_method_name,
    is_parameter_name,
    method_name,
)
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import MessageCodec, is_optional, is_tensor
from blazerpc_client.wire.options import ModelOptions, read_default, read_model, read_tensor
from blazerpc_client.wire.scalars import SCALARS
from blazerpc_client.wire.tensors import Dims, TensorSpec

T = TypeVar("T")

#: The response field that a BlazeRPC model's result travels in.
RESULT = "result"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """A field of a message.

    Attributes:
        name: on the wire and in Python.
        number: on the wire.
        proto: protobuf's name of the type; ``message`` for a tensor.
        element: the Python type of one value: ``int``, ``float``, ``str``, ``bool``, ``bytes``,
            or ``ndarray``.
        repeated: whether the field is a list.
        optional: whether it may be absent, which is None.
        default: what the server takes then, as JSON; None when the schema does not say.
        tensor: the declared tensor type, when the field is a tensor and the schema declares one.
    """

    name: str
    number: int
    proto: str
    element: type[object]
    repeated: bool
    optional: bool
    default: str | None
    tensor: TensorSpec | None

    @property
    def omissible(self) -> bool:
        """Whether a caller can leave it out; a list can have a default without being optional."""
        return self.optional or self.default is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSpec:
    """A message type: its name without the package, its full name, its fields by number."""

    name: str
    full_name: str
    fields: tuple[FieldSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """A method of a BlazeRPC service.

    Attributes:
        name: of the rpc.
        python_name: of the client's method.
        full_name: package, service and rpc, joined by dots.
        model: which model answers, and its documentation.
        streaming: whether results come as a stream.
        request: its fields are the model's parameters.
        response: its one field is the result.
    """

    name: str
    python_name: str
    full_name: str
    model: ModelOptions
    streaming: bool
    request: MessageSpec
    response: MessageSpec

    @property
    def result(self) -> FieldSpec:
        """The field that holds the result."""
        return self.response.fields[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """A BlazeRPC service: its full name, the name of its client class, its methods in order."""

    full_name: str
    client_name: str
    methods: tuple[MethodSpec, ...]


class Schema:
    """Descriptors in a pool of their own.

    Args:
        files: every file that another one of them imports is among them.

    Attributes:
        files: each after those it imports.
        pool: that holds them.

    Raises:
        WireError: when the files are inconsistent.
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self.files = tuple(_in_import_order(files))
        self.pool = descriptor_pool.DescriptorPool()
        for file in self.files:
            try:
                self.pool.AddSerializedFile(file.SerializeToString())
            except TypeError as error:  # protobuf's answer to a file that does not fit the others
                raise WireError(f"{file.name}: {error}") from None

    @classmethod
    def from_package(cls, package: str) -> Schema:
        """Return the schema that the generated ``package`` was made from."""
        return cls.from_bytes(resources.files(package).joinpath("schema.binpb").read_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> Schema:
        """Return the schema of a serialised ``FileDescriptorSet``."""
        return cls(FileDescriptorSet.FromString(data).file)

    def to_bytes(self) -> bytes:
        """Return a serialised ``FileDescriptorSet``: the files, each after those it imports."""
        return FileDescriptorSet(file=self.files).SerializeToString(deterministic=True)

    @property
    def services(self) -> list[str]:
        """The full names of all services in the files."""
        return [
            f"{file.package}.{service.name}" if file.package else service.name
            for file in self.files
            for service in file.service
        ]

    def message(self, full_name: str) -> Descriptor:
        """Return the descriptor of a message type."""
        return self.pool.FindMessageTypeByName(full_name)

    def method(self, full_name: str) -> MethodDescriptor:
        """Return the descriptor of an rpc, by package, service and rpc name joined by dots."""
        return self.pool.FindMethodByName(full_name)

    def service(self, full_name: str) -> ServiceDescriptor:
        """Return the descriptor of a service.

        Raises:
            KeyError: when the files define no such service.
        """
        return self.pool.FindServiceByName(full_name)


class Method(Generic[T]):
    """One rpc of a schema, compiled: arguments to message, message to result.

    Args:
        schema: that defines it.
        name: package, service and rpc, joined by dots.

    ``T`` is the type of the result; the generator writes it from the same schema.
    """

    def __init__(self, schema: Schema, name: str) -> None:
        self._descriptor = schema.method(name)
        service = self._descriptor.containing_service.full_name
        self.path = f"/{service}/{self._descriptor.name}"

    @cached_property
    def response_class(self) -> type[Message]:
        """The class of google.protobuf that reads the answer."""
        return message_factory.GetMessageClass(self._descriptor.output_type)

    @cached_property
    def _request(self) -> MessageCodec:
        descriptor = self._descriptor.input_type
        return MessageCodec(descriptor, message_factory.GetMessageClass(descriptor))

    @cached_property
    def _response(self) -> MessageCodec:
        return MessageCodec(self._descriptor.output_type, self.response_class)

    def encode(self, arguments: dict[str, object], dims: Dims) -> Message:
        """Return the request, and bind the call's symbolic dimensions in ``dims``.

        Raises:
            InvalidArgument: naming the argument that the schema does not allow.
        """
        with arguments_checked():
            return self._request.encode(arguments, dims)

    def decode(self, response: Message, dims: Dims) -> T:
        """Return the result.

        Raises:
            Internal: when the response is not what the schema says.
        """
        with response_checked():
            # The schema is the source of T, so what its codec returns is a T.
            return cast(T, self._response.fields[RESULT].read(response, dims))


class UnaryMethod(Method[T]):
    """An rpc with one result."""


class StreamMethod(Method[T]):
    """An rpc with a stream of results."""


def service_spec(schema: Schema, full_name: str) -> ServiceSpec:
    """Return what ``schema`` says of a BlazeRPC service.

    Raises:
        WireError: when it is no BlazeRPC service, has kinds of fields that this version does not
            know, or methods whose names are one name in Python.
    """
    methods = tuple(_method_spec(method) for method in schema.service(full_name).methods)
    if not methods:
        raise WireError("a service without methods", field=full_name)
    seen: dict[str, str] = {}
    for method in methods:
        other = seen.setdefault(method.python_name, method.name)
        if other != method.name:
            raise WireError(
                f"{other} and {method.name} would both be the client's {method.python_name}()",
                field=full_name,
            )
    return ServiceSpec(full_name=full_name, client_name=client_name(full_name), methods=methods)


def is_blazerpc(service: ServiceDescriptor) -> bool:
    """Return whether every method of the service says which model it calls."""
    return bool(service.methods) and all(
        read_model(method) is not None for method in service.methods
    )


def _method_spec(method: MethodDescriptor) -> MethodSpec:
    model = read_model(method)
    response = _message_spec(method.output_type)
    one_result = [field.name for field in response.fields] == [RESULT]
    if model is None or not one_result or method.client_streaming:
        raise WireError("not a method of a BlazeRPC server", field=method.full_name)
    if not is_method_name(method_name(method.name)):
        raise WireError("a client cannot have a method of this name", field=method.full_name)
    return MethodSpec(
        name=method.name,
        python_name=method_name(method.name),
        full_name=method.full_name,
        model=model,
        streaming=method.server_streaming,
        request=_message_spec(method.input_type),
        response=response,
    )


def _message_spec(message: Descriptor) -> MessageSpec:
    return MessageSpec(
        name=message.name,
        full_name=message.full_name,
        fields=tuple(_field_spec(field) for field in message.fields),
    )


def _field_spec(field: FieldDescriptor) -> FieldSpec:
    scalar = SCALARS.get(field.type)
    if scalar is None and (not is_tensor(field) or field.is_repeated):
        raise WireError("a field of this kind is not supported", field=field.full_name)
    if not is_parameter_name(field.name):
        raise WireError("Python cannot have a parameter of this name", field=field.full_name)
    return FieldSpec(
        name=field.name,
        number=field.number,
        proto=scalar.name if scalar else "message",
        element=scalar.python if scalar else np.ndarray[Any, Any],
        repeated=field.is_repeated,
        optional=is_optional(field),
        default=read_default(field),
        tensor=None if scalar else _tensor(field),
    )


def _tensor(field: FieldDescriptor) -> TensorSpec | None:
    try:
        return read_tensor(field)
    except WireError as error:
        raise error.at(field.full_name) from None


def _in_import_order(files: Iterable[FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Return each file after those it imports.

    Raises:
        WireError: for an import that is missing, or of a file by itself through others.
    """
    by_name = {file.name: file for file in files}
    ordered: dict[str, FileDescriptorProto] = {}
    # A stack, and no recursion: a stranger's files may import one another to any depth.
    open_imports: dict[str, Iterator[str]] = {}

    def enter(name: str) -> None:
        if name in ordered:
            return
        if name in open_imports:
            raise WireError(f"{name} imports itself, through {', '.join(open_imports)}")
        if name not in by_name:
            raise WireError(f"{name} is imported and missing")
        open_imports[name] = iter(by_name[name].dependency)

    for root in by_name:
        enter(root)
        while open_imports:
            name, imports = next(reversed(open_imports.items()))
            imported = next(imports, None)
            if imported is None:
                del open_imports[name]
                ordered[name] = by_name[name]
            else:
                enter(imported)
    return list(ordered.values())
