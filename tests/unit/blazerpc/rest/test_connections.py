"""Connections over HTTP have the bounds of those over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from blazerpc import BlazeApp, ServeOptions
from blazerpc_client.transport.limits import Limits
from tests.unit.blazerpc.support import running

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

READY = b"GET /v2/health/ready HTTP/1.1\r\nhost: x\r\n\r\n"
FLOOD = b"POST /v1/models/flood:predict HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n"


class Served:
    """A server of a model that streams without end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.port = 0

    def app(self) -> BlazeApp:
        app = BlazeApp()

        @app.model("flood")
        async def flood(size: int) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield bytes(size)
            finally:
                self.ended.set()

        return app

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def serving(limits: Limits) -> AsyncIterator[Served]:
    served = Served()
    server = served.app().server(ServeOptions(port=0, http_port=0, limits=limits))
    async with running(server):
        assert server.face_port is not None
        served.port = server.face_port
        yield served


async def answered(reader: asyncio.StreamReader) -> None:
    """Read the answer to ``READY``."""
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await reader.readexactly(len(b'{"ready":true}')) == b'{"ready":true}'


@pytest.mark.parametrize("sent", [b"", READY[:-2]], ids=["nothing", "half a request"])
async def test_a_request_that_does_not_come_ends_its_connection(sent: bytes) -> None:
    async with serving(Limits(handshake_timeout=0.1)) as served:
        reader, writer = await served.connect()
        writer.write(sent)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_an_idle_connection_is_kept_until_half_a_request_comes() -> None:
    async with serving(Limits(handshake_timeout=2)) as served:
        reader, writer = await served.connect()
        writer.write(READY)
        await answered(reader)
        await asyncio.sleep(2.5)  # longer than a request's head may take
        writer.write(READY)
        await answered(reader)
        writer.write(READY[:-2])
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


async def test_a_client_that_does_not_read_ends_its_stream() -> None:
    async with serving(Limits(stall_timeout=0.2)) as served:
        _, writer = await served.connect()
        writer.write(FLOOD + b'{"size": 100000}')
        await served.ended.wait()
        writer.close()


async def test_more_connections_than_there_may_be_are_refused() -> None:
    async with serving(Limits(max_connections=2)) as served:
        held = [await served.connect() for _ in range(2)]
        for reader, writer in held:
            writer.write(READY)
            await answered(reader)
        reader, writer = await served.connect()
        assert await reader.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
        writer.close()
        held[0][1].close()
        while True:  # a connection that ends makes room
            reader, writer = await served.connect()
            with suppress(ConnectionResetError):
                writer.write(READY)
                if await reader.readline() == b"HTTP/1.1 200 OK\r\n":
                    break
            writer.close()
        writer.close()
        held[1][1].close()
