"""Peers of a client: our server, grpclib's with any handlers, and some that speak no gRPC."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from grpclib.server import Server

from blazerpc import BlazeApp
from blazerpc.config import ServeOptions
from blazerpc_client.transport.choice import Http

if TYPE_CHECKING:
    from grpclib._typing import IServable

#: Answers one HTTP/2 request, given its connection and the number of its stream.
Script = Callable[[h2.connection.H2Connection, int], None]

#: Headers and trailers of an answer that is well, and a message with the text "a".
OK = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]
MESSAGE = b"\0" + struct.pack(">I", 3) + b"\x0a\x01a"


@asynccontextmanager
async def serving(app: BlazeApp, port: int = 0, http: Http | None = None) -> AsyncIterator[str]:
    """Serve an app in this process; give its address."""
    server = app.server(ServeOptions(port=port, http=http))
    await server.listen(port=port)
    waiting = asyncio.create_task(server.wait())
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.stop()
        await waiting


@asynccontextmanager
async def serving_handlers(*handlers: IServable) -> AsyncIterator[str]:
    """Serve handlers with grpclib alone; give the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(handlers)
        await server.start(sock=listener)
        try:
            yield address(listener)
        finally:
            server.close()
            await server.wait_closed()


@asynccontextmanager
async def saying(data: bytes) -> AsyncIterator[str]:
    """Listen; read something of whoever connects, say ``data``, hang up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(data)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield address(server.sockets[0])


@asynccontextmanager
async def answering(script: Script, port: int = 0) -> AsyncIterator[str]:
    """Listen, speak HTTP/2, and let ``script`` answer each request; at the end, hang up."""
    open_connections: dict[asyncio.Task[object], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_connections[task] = writer
        try:
            await _speak(reader, writer, script)
        except (ConnectionError, h2.exceptions.ProtocolError):
            pass  # the client has gone
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        try:
            yield address(server.sockets[0])
        finally:
            for writer in open_connections.values():
                writer.close()
            await asyncio.gather(*open_connections)


def answer(
    headers: list[tuple[str, str]],
    body: bytes | None = None,
    trailers: list[tuple[str, str]] | None = None,
    *,
    reset: bool = False,
) -> Script:
    """Return a script that answers every request so."""

    def script(connection: h2.connection.H2Connection, stream: int) -> None:
        connection.send_headers(
            stream, headers, end_stream=body is None and trailers is None and not reset
        )
        if body is not None:
            connection.send_data(stream, body, end_stream=trailers is None and not reset)
        if trailers is not None:
            connection.send_headers(stream, trailers, end_stream=True)
        if reset:
            connection.reset_stream(stream)

    return script


async def _speak(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, script: Script
) -> None:
    # What a script says may be against the rules: it is the client that has to see that.
    config = h2.config.H2Configuration(
        client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    while data := await reader.read(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.StreamEnded):
                script(connection, event.stream_id)
        writer.write(connection.data_to_send())


def address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{host}:{port}"
