"""The service on grpclib as it is."""

from __future__ import annotations

import socket
from typing import Any

import uvloop
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from benchmarks.sidebyside.servers.life import announce, stopped
from benchmarks.sidebyside.servers.service import SERVICE, STREAM, UNARY


def _unary(function: Any) -> Any:
    async def handle(stream: Stream[Any, Any]) -> None:
        request = await stream.recv_message()
        await stream.send_message(function(request))

    return handle


def _stream(function: Any) -> Any:
    async def handle(stream: Stream[Any, Any]) -> None:
        for response in function(await stream.recv_message()):
            await stream.send_message(response)

    return handle


class Service:
    """The service, in the form that grpclib's generated code gives it."""

    def __mapping__(self) -> dict[str, Handler]:
        """Return the handler of each path."""
        return {
            f"/{SERVICE}/{name}": Handler(make(function), cardinality, request, response)
            for table, make, cardinality in (
                (UNARY, _unary, Cardinality.UNARY_UNARY),
                (STREAM, _stream, Cardinality.UNARY_STREAM),
            )
            for name, (function, request, response) in table.items()
        }


async def serve() -> None:
    """Serve until SIGTERM."""
    server = Server([Service()])
    listening = socket.create_server(("127.0.0.1", 0))
    await server.start(sock=listening)
    announce(listening.getsockname()[1])
    await stopped()
    server.close()
    await server.wait_closed()


if __name__ == "__main__":
    uvloop.run(serve())
