"""Read the descriptors of a live server: gRPC reflection v1, or v1alpha where that is all it has.

Protocol: https://github.com/grpc/grpc/blob/master/src/proto/grpc/reflection/v1/reflection.proto
(v1alpha is the same messages in another package). The messages are defined here, in pools of our
own, because every Python reflection library puts its own copy into the one global pool.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

import grpclib.client
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError, Message
from grpclib.const import Cardinality

from blazerpc_client.channel import Channel
from blazerpc_client.errors import Internal, NotFound, Unimplemented, translated
from blazerpc_client.naming import PACKAGE
from blazerpc_client.options import CallOptions
from blazerpc_client.schema import Schema
from blazerpc_client.wire.errors import WireError

#: Packages of the protocol, the preferred one first.
_PACKAGES: Final = ("grpc.reflection.v1", "grpc.reflection.v1alpha")

#: Services that every server may have besides its own.
_INFRASTRUCTURE: Final = ("grpc.reflection.", "grpc.health.")

#: The Open Inference Protocol is another way to a server's models, where they are BlazeRPC's.
_OTHER_WAY: Final = "inference.GRPCInferenceService"

#: A server that announces more files than this is not describing a service.
_MAX_FILES: Final = 4096

#: Seconds that each call that reads the descriptors may take, if nothing else is said.
_TIMEOUT: Final = 10.0

_OPTIONS: Final = CallOptions()

_FILE: Final = """
name: "reflection.proto" syntax: "proto3" package: "PACKAGE"
message_type {
  name: "ServerReflectionRequest"
  field { name: "file_by_filename" number: 3 type: TYPE_STRING label: LABEL_OPTIONAL
          oneof_index: 0 }
  field { name: "file_containing_symbol" number: 4 type: TYPE_STRING label: LABEL_OPTIONAL
          oneof_index: 0 }
  field { name: "list_services" number: 7 type: TYPE_STRING label: LABEL_OPTIONAL oneof_index: 0 }
  oneof_decl { name: "message_request" }
}
message_type {
  name: "ServerReflectionResponse"
  field { name: "file_descriptor_response" number: 4 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".PACKAGE.FileDescriptorResponse" oneof_index: 0 }
  field { name: "list_services_response" number: 6 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".PACKAGE.ListServiceResponse" oneof_index: 0 }
  field { name: "error_response" number: 7 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".PACKAGE.ErrorResponse" oneof_index: 0 }
  oneof_decl { name: "message_response" }
}
message_type {
  name: "FileDescriptorResponse"
  field { name: "file_descriptor_proto" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "ListServiceResponse"
  field { name: "service" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED
          type_name: ".PACKAGE.ServiceResponse" }
}
message_type {
  name: "ServiceResponse"
  field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type {
  name: "ErrorResponse"
  field { name: "error_code" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "error_message" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
}
"""


class _Protocol:
    """One version of the reflection protocol: its path and its two messages."""

    def __init__(self, package: str) -> None:
        pool = descriptor_pool.DescriptorPool()
        file = text_format.Parse(_FILE.replace("PACKAGE", package), FileDescriptorProto())
        pool.AddSerializedFile(file.SerializeToString())
        self.path = f"/{package}.ServerReflection/ServerReflectionInfo"
        self.request, self.response = (
            message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
            for name in ("ServerReflectionRequest", "ServerReflectionResponse")
        )


class _Conversation:
    """An open reflection stream: one question, one answer."""

    def __init__(
        self, protocol: _Protocol, stream: grpclib.client.Stream[Message, Message], target: str
    ) -> None:
        self._protocol = protocol
        self._stream = stream
        self._target = target

    async def services(self) -> list[str]:
        answer = await self._ask(list_services="*")
        return [service.name for service in answer.list_services_response.service]

    async def files(self, **question: str) -> list[FileDescriptorProto]:
        answer = await self._ask(**question)
        if answer.HasField("error_response"):
            wanted = next(iter(question.values()))
            raise NotFound(f"{self._target} reflects no {wanted}")
        try:
            return [
                FileDescriptorProto.FromString(data)
                for data in answer.file_descriptor_response.file_descriptor_proto
            ]
        except DecodeError:
            raise Internal(f"{self._target} reflects a file that is no descriptor") from None

    async def _ask(self, **question: str) -> Any:
        await self._stream.send_message(self._protocol.request(**question))
        answer = await self._stream.recv_message()
        if answer is None:
            # The stream ended: leaving it raises the status, unless the server called that OK.
            await self._stream.end()
            await self._stream.recv_trailing_metadata()
            raise Internal(f"{self._target} ended its reflection stream without an answer")
        return answer


async def fetch_schema(
    channel: Channel,
    services: Collection[str] = (),
    *,
    known: Collection[str] = (),
    options: CallOptions = _OPTIONS,
) -> Schema:
    """Return the schema of a live server, by reflection.

    Args:
        channel: to the server.
        services: full names of those wanted; without any, all but reflection and health, and the
            Open Inference Protocol beside a BlazeRPC service.
        known: of these, such as are wanted nevertheless, if they are there.
        options: of the calls that read it; without a timeout they have ten seconds each.

    Raises:
        Unimplemented: when the server has no reflection.
        NotFound: when it has no such service.
        Unavailable: when it cannot be reached.
        Internal: when what it reflects is broken.
    """
    if options.timeout is None:
        options = replace(options, timeout=_TIMEOUT)
    async with _conversation(channel, options) as conversation:
        served = await conversation.services()
        own = [name for name in served if name in known or not _is_besides(name, served)]
        for name in services:
            if name not in served:
                raise NotFound(f"{channel.target} has no service {name}; it has: {', '.join(own)}")
        files: dict[str, FileDescriptorProto] = {}
        for name in services or own:
            await _collect(conversation, files, file_containing_symbol=name)
    try:
        schema = Schema(files.values())
    except WireError as error:
        raise Internal(f"{channel.target} reflects a broken schema: {error}") from None
    for name in services or own:
        if name not in schema.services:
            raise Internal(f"{channel.target} reflects files that do not define {name}")
    return schema.only(services or own)


def _is_besides(service: str, served: Collection[str]) -> bool:
    """Return whether nobody wants a client of a service unless they say so."""
    if service == _OTHER_WAY:
        return any(name.startswith(f"{PACKAGE}.") for name in served)
    return service.startswith(_INFRASTRUCTURE)


async def _collect(
    conversation: _Conversation, files: dict[str, FileDescriptorProto], **question: str
) -> None:
    """Add to ``files`` the answer to ``question`` and all that it imports."""
    pending = await conversation.files(**question)
    while pending:
        file = pending.pop()
        if file.name in files:
            continue
        if len(files) == _MAX_FILES:
            raise Internal(f"the server reflects more than {_MAX_FILES} files")
        files[file.name] = file
        known = files.keys() | {other.name for other in pending}
        for name in file.dependency:
            if name == descriptor_pb2.DESCRIPTOR.name:  # not every server reflects this one
                files[name] = FileDescriptorProto.FromString(
                    descriptor_pb2.DESCRIPTOR.serialized_pb
                )
            elif name not in known:
                pending += await conversation.files(file_by_filename=name)


@asynccontextmanager
async def _conversation(channel: Channel, options: CallOptions) -> AsyncIterator[_Conversation]:
    """Open the reflection stream in the version that the server has."""
    protocol = await _supported(channel, options)
    with translated(channel.target):
        async with channel.open(
            protocol.path, Cardinality.STREAM_STREAM, protocol.request, protocol.response, options
        ) as stream:
            yield _Conversation(protocol, stream, channel.target)
            await stream.end()


async def _supported(channel: Channel, options: CallOptions) -> _Protocol:
    for package in _PACKAGES:
        protocol = _Protocol(package)
        try:
            with translated(channel.target):
                async with channel.open(
                    protocol.path,
                    Cardinality.STREAM_STREAM,
                    protocol.request,
                    protocol.response,
                    options,
                ) as stream:
                    await _Conversation(protocol, stream, channel.target).services()
                    await stream.end()
        except Unimplemented:
            continue
        return protocol
    raise Unimplemented(f"{channel.target} has no reflection service")
