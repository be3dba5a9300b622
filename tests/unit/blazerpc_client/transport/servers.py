"""A server and a channel of bytes on our own streams, over loopback, in the test's loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import grpclib.server
from grpclib.const import Cardinality, Handler
from grpclib.encoding.base import CodecBase
from grpclib.protocol import H2Protocol

from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.messages import Compression
from blazerpc_client.transport.protocol import TransportProtocol
from blazerpc_client.transport.serving import CallHandler
from blazerpc_client.transport.stream import TransportStream

#: How long a test waits for what should come at once: its end means that it never came.
PATIENCE = 5.0

Function = Callable[[Any], Awaitable[None]]


class RawCodec(CodecBase):
    """Sends and receives bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        assert isinstance(message, bytes | bytearray)
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return bytes(data)


class Served(grpclib.server.Server):
    """One function as all four kinds of rpc, at ``/t.T/UU`` to ``/t.T/SS``."""

    def __init__(self, function: Function, limits: Limits, compression: Compression | None) -> None:
        super().__init__([], codec=RawCodec())
        self._mapping = {
            "/t.T/UU": Handler(function, Cardinality.UNARY_UNARY, bytes, bytes),
            "/t.T/US": Handler(function, Cardinality.UNARY_STREAM, bytes, bytes),
            "/t.T/SU": Handler(function, Cardinality.STREAM_UNARY, bytes, bytes),
            "/t.T/SS": Handler(function, Cardinality.STREAM_STREAM, bytes, bytes),
        }
        self._limits = limits
        self._compression = compression
        self.port = 0
        self.protocols: list[TransportProtocol] = []
        self.handlers: list[CallHandler] = []

    def _protocol_factory(self) -> H2Protocol:
        handler = CallHandler(
            self._mapping, self._codec, None, self.__dispatch__, self._compression
        )
        self._handlers.add(cast(grpclib.server.Handler, handler))
        protocol = TransportProtocol(handler, client=False, limits=self._limits)
        self.protocols.append(protocol)
        self.handlers.append(handler)
        return cast(H2Protocol, protocol)


@asynccontextmanager
async def serving(
    function: Function, limits: Limits | None = None, compression: Compression | None = None
) -> AsyncIterator[Served]:
    server = Served(function, limits or Limits(), compression)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        await server.start(sock=listener)
        try:
            yield server
        finally:
            server.close()
            await server.wait_closed()
            for protocol in server.protocols:
                protocol.close()
            await asyncio.sleep(0)


@asynccontextmanager
async def channel_to(
    server: Served | int, limits: Limits | None = None
) -> AsyncIterator[TransportChannel]:
    port = server if isinstance(server, int) else server.port
    channel = TransportChannel("127.0.0.1", port, limits=limits or Limits(), codec=RawCodec())
    try:
        yield channel
    finally:
        channel.close()
        await asyncio.sleep(0)


async def unary(
    channel: TransportChannel,
    request: bytes,
    *,
    timeout: float | None = None,
    path: str = "/t.T/UU",
) -> bytes:
    call = channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes, timeout=timeout)
    async with call:
        await call.send_message(request, end=True)
        answer = await call.recv_message()
    assert answer is not None
    return bytes(answer)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop run until ``holds``, which nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


def stream_of(call: Any) -> TransportStream:
    """Return the stream under a call."""
    stream = call._transport_stream
    assert isinstance(stream, TransportStream)
    return stream


async def echo(call: Any) -> None:
    """Answer each message with itself."""
    async for message in call:
        await call.send_message(message)
