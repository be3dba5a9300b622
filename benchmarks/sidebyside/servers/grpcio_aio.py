"""The service on grpcio's asyncio server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import uvloop

from benchmarks.sidebyside.servers.grpcio_handlers import handlers
from benchmarks.sidebyside.servers.life import announce, stopped


def _unary(function: Any) -> Any:
    async def behaviour(request: Any, context: object) -> Any:
        return function(request)

    return behaviour


def _stream(function: Any) -> Any:
    async def behaviour(request: Any, context: object) -> AsyncIterator[Any]:
        for response in function(request):
            yield response

    return behaviour


async def serve() -> None:
    """Serve until SIGTERM."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers(_unary, _stream),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(port)
    await stopped()
    await server.stop(grace=1)


if __name__ == "__main__":
    uvloop.run(serve())
