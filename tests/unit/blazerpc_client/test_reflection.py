from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.const import Cardinality, Handler
from grpclib.reflection.v1.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)
from grpclib.reflection.v1alpha import reflection_pb2 as v1alpha
from grpclib.server import Stream

from blazerpc import BlazeApp
from blazerpc.codegen.schema import build_schema
from blazerpc_client import Internal, NotFound, Schema, Unavailable, Unimplemented
from blazerpc_client.channel import Channel
from blazerpc_client.reflection import fetch_schema
from tests.unit.blazerpc_client.servers import serving, serving_handlers

Files = Callable[[ServerReflectionRequest], Iterable[bytes]]


def file(name: str, *imports: str, service: str = "") -> bytes:
    descriptor = FileDescriptorProto(name=name, package="p", syntax="proto3", dependency=imports)
    if service:
        descriptor.service.add(name=service)
    return descriptor.SerializeToString()


class Reflecting:
    """A reflection service that answers whatever it is told to."""

    def __init__(self, answer: Files, version: str = "v1", services: Iterable[str] = ("p.S",)):
        self._answer = answer
        self._version = version
        self._services = services
        self.asked = 0

    def __mapping__(self) -> dict[str, Handler]:
        path = f"/grpc.reflection.{self._version}.ServerReflection/ServerReflectionInfo"
        old = self._version == "v1alpha"
        request = v1alpha.ServerReflectionRequest if old else ServerReflectionRequest
        self._response: Any = v1alpha.ServerReflectionResponse if old else ServerReflectionResponse
        return {path: Handler(self._converse, Cardinality.STREAM_STREAM, request, self._response)}

    async def _converse(self, stream: Stream[ServerReflectionRequest, Any]) -> None:
        async for request in stream:
            self.asked += 1
            response = ServerReflectionResponse()
            if request.WhichOneof("message_request") == "list_services":
                for name in self._services:
                    response.list_services_response.service.add(name=name)
            else:
                files = self._answer(request)
                response.file_descriptor_response.file_descriptor_proto.extend(files)
            await stream.send_message(self._response.FromString(response.SerializeToString()))


async def fetch(target: str, *services: str) -> Schema:
    channel = Channel(target)
    try:
        async with asyncio.timeout(5):
            return await fetch_schema(channel, services)
    finally:
        channel.close()
        await asyncio.sleep(0)


async def test_what_a_server_reflects_is_its_own_schema() -> None:
    app = BlazeApp()

    @app.model("double")
    def double(x: int) -> int:
        return 2 * x

    async with serving(app) as target:
        schema = await fetch(target)
        assert schema.services == ["blazerpc.InferenceService"]
        assert {f.name for f in schema.files} == {f.name for f in build_schema(app.registry).files}
        with pytest.raises(NotFound, match=r"has no service p\.S; it has: blazerpc\.Inference"):
            await fetch(target, "p.S")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_both_versions_of_the_protocol_are_spoken(version: str) -> None:
    def answer(request: ServerReflectionRequest) -> Iterable[bytes]:
        if request.file_by_filename == "b.proto":
            return [file("b.proto")]
        return [file("a.proto", "b.proto", service="S")]

    async with serving_handlers(Reflecting(answer, version)) as target:
        schema = await fetch(target)
    assert [f.name for f in schema.files] == ["b.proto", "a.proto"]


async def test_a_server_without_reflection_says_so() -> None:
    async with serving_handlers() as target:
        with pytest.raises(Unimplemented, match="has no reflection service"):
            await fetch(target)


async def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"cannot reach 127\.0\.0\.1:1"):
        await fetch("127.0.0.1:1")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda _: [b"\xff"], "reflects a file that is no descriptor"),
        (lambda _: [file("a", "a", service="S")], "broken schema: a imports itself"),
        (
            lambda r: [file(r.file_by_filename or "a", "b" if r.file_by_filename != "b" else "a")],
            "broken schema: . imports itself, through",
        ),
        (lambda _: [file("other")], r"reflects files that do not define p\.S"),
        (
            lambda r: [file(r.file_by_filename or "0", f"{int(r.file_by_filename or 0) + 1}")],
            r"reflects more than \d+ files",
        ),
        (lambda _: [], r"reflects files that do not define p\.S"),
    ],
    ids=["no descriptor", "itself", "cycle", "another file", "endless", "nothing"],
)
async def test_a_schema_that_is_broken_is_an_error_and_no_hang(answer: Files, message: str) -> None:
    async with serving_handlers(Reflecting(answer)) as target:
        with pytest.raises(Internal, match=message):
            await fetch(target)
