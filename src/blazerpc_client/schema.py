"""Descriptors in a pool of their own, and methods compiled from them.

A client makes ``Method`` objects of a ``Schema``, one for each rpc, which know how to turn
arguments into messages and messages into results.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Iterator
from functools import cached_property
from importlib import resources
from typing import Generic, TypeVar, cast

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message

from blazerpc_client.errors import InvalidArgument, arguments_checked, response_checked
from blazerpc_client.naming import method_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import MessageCodec
from blazerpc_client.wire.malformed import refuse_retyped
from blazerpc_client.wire.options import is_idempotent, read_model
from blazerpc_client.wire.tensors import Dims
from blazerpc_client.wire.values import Classes, PlainClasses

T = TypeVar("T")
Request = TypeVar("Request")

#: The response field that a BlazeRPC model's result travels in.
RESULT = "result"


class Schema:
    """Descriptors in a pool of their own.

    Args:
        files: every file that another one of them imports is among them.

    Attributes:
        files: each after those it imports.
        pool: that holds them.
        classes: which Python classes its messages and enums are.

    Raises:
        WireError: when the files are inconsistent.
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self.files: tuple[FileDescriptorProto, ...] = tuple(_in_import_order(files))
        self.classes: Classes = PlainClasses()
        self.pool: descriptor_pool.DescriptorPool = descriptor_pool.DescriptorPool()
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

    def only(self, services: Collection[str]) -> Schema:
        """Return the schema without all other services."""
        files = [FileDescriptorProto.FromString(file.SerializeToString()) for file in self.files]
        for file in files:
            kept = [s for s in file.service if _qualified(file.package, s.name) in services]
            del file.service[:]
            file.service.extend(kept)
        return Schema(files)

    def bind(self, classes: Classes) -> None:
        """Have messages and enums be instances of these classes from now on."""
        self.classes = classes

    @property
    def services(self) -> list[str]:
        """The full names of all services in the files."""
        return [
            _qualified(file.package, service.name)
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

    The result of a BlazeRPC model is the one field of its answer, elsewhere it is the answer. ``T``
    is its type; the generator writes it from the same schema.
    """

    def __init__(self, schema: Schema, name: str) -> None:
        self.schema = schema
        self._descriptor = schema.method(name)
        service = self._descriptor.containing_service.full_name
        self.path: str = f"/{service}/{self._descriptor.name}"
        #: Whether a call that may have run can be made again.
        self.idempotent: bool = is_idempotent(self._descriptor)
        #: Of the client's method.
        self.python_name: str = method_name(self._descriptor.name)
        #: Whether a model of a BlazeRPC server's answers.
        self.is_model: bool = read_model(self._descriptor) is not None

    @cached_property
    def request_class(self) -> type[Message]:
        """The class of google.protobuf that writes the request."""
        return message_factory.GetMessageClass(self._descriptor.input_type)

    @cached_property
    def response_class(self) -> type[Message]:
        """The class of google.protobuf that reads the answer."""
        return message_factory.GetMessageClass(self._descriptor.output_type)

    @cached_property
    def _request(self) -> MessageCodec:
        descriptor = self._descriptor.input_type
        return MessageCodec(descriptor, self.request_class, self.schema.classes)

    @cached_property
    def _response(self) -> MessageCodec:
        return MessageCodec(self._descriptor.output_type, self.response_class, self.schema.classes)

    def encode(self, arguments: dict[str, object], dims: Dims) -> Message:
        """Return the request, and bind the call's symbolic dimensions in ``dims``.

        Raises:
            InvalidArgument: naming the argument that the schema does not allow.
        """
        with arguments_checked():
            if not self.is_model:  # a field that is not given is not sent
                arguments = {name: value for name, value in arguments.items() if value is not None}
            return self._request.encode_to_send(arguments, dims)

    def encode_message(self, request: object) -> Message:
        """Return the message that an instance of the request's class says.

        Raises:
            InvalidArgument: when it is none, or a field is not what the schema allows.
        """
        with arguments_checked():
            struct = self.schema.classes.struct(self._descriptor.input_type)
            return self._request.encode_to_send(struct.take(request), {})

    def read_arguments(self, request: Message, dims: Dims) -> dict[str, object]:
        """Return the fields of a request, as a server reads them; those that are absent are None.

        Raises:
            WireError: naming the field that holds no value of its type.
        """
        return self._request.decode(request, dims)

    def read_message(self, request: Message) -> object:
        """Return the instance of the request's class that a message says.

        Raises:
            WireError: likewise.
        """
        struct = self.schema.classes.struct(self._descriptor.input_type)
        return struct.make(self._request.decode(request, {}))

    def write_result(self, result: object, dims: Dims) -> Message:
        """Return the answer with a result, as a server writes it.

        Raises:
            WireError: when it is not what the schema says.
        """
        if self.is_model:
            return self._response.encode({RESULT: result}, dims)
        struct = self.schema.classes.struct(self._descriptor.output_type)
        return self._response.encode(struct.take(result), dims)

    def decode(self, response: Message, dims: Dims) -> T:
        """Return the result.

        Raises:
            Internal: when the response is not what the schema says.
        """
        with response_checked():
            # The schema is the source of T, so what its codecs return is a T.
            if self.is_model:
                refuse_retyped(response)
                return cast(T, self._response.fields[RESULT].read(response, dims))
            struct = self.schema.classes.struct(self._descriptor.output_type)
            return cast(T, struct.make(self._response.decode(response, dims)))


class UnaryMethod(Method[T]):
    """An rpc with one request and one result."""


class StreamMethod(Method[T]):
    """An rpc with one request and a stream of results."""


class _Requests(Method[T], Generic[Request, T]):
    """An rpc with a stream of requests."""

    def encode_all(self, requests: AsyncIterable[Request]) -> AsyncIterator[Message]:
        """Yield a message for each request.

        Raises:
            InvalidArgument: when it is no asynchronous iterable, and then for a request that is
                not of its class.
        """
        # Not every caller has a type checker, and in the task that sends them it would be too late.
        if not isinstance(cast(object, requests), AsyncIterable):
            got = type(requests).__name__
            raise InvalidArgument(
                f"requests: expected an AsyncIterable, got {got}", field="requests"
            )
        return self._encoded(requests)

    async def _encoded(self, requests: AsyncIterable[Request]) -> AsyncIterator[Message]:
        async for request in requests:
            yield self.encode_message(request)


class ClientStreamMethod(_Requests[Request, T]):
    """An rpc with a stream of requests and one result."""


class BidirectionalMethod(_Requests[Request, T]):
    """An rpc with a stream of requests and a stream of results."""


def _qualified(package: str, name: str) -> str:
    return f"{package}.{name}" if package else name


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
