"""The service on connectrpc's ASGI application, served by Hypercorn."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import uvloop
from connectrpc.compat import google_protobuf_codecs
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType
from connectrpc.server import ConnectASGIApplication, Endpoint
from hypercorn.asyncio import serve as hypercorn
from hypercorn.config import Config

from benchmarks.sidebyside.servers.life import announce, stopped
from benchmarks.sidebyside.servers.service import SERVICE, STREAM, UNARY


def _unary(method: Any, function: Any) -> Any:
    async def endpoint(request: Any, context: object) -> Any:
        return function(request)

    return Endpoint.unary(method, endpoint)


def _stream(method: Any, function: Any) -> Any:
    async def endpoint(request: Any, context: object) -> AsyncIterator[Any]:
        for response in function(request):
            yield response

    return Endpoint.server_stream(method, endpoint)


def _endpoints(service: object) -> dict[str, Any]:
    return {
        f"/{SERVICE}/{name}": make(
            MethodInfo(
                name=name,
                service_name=SERVICE,
                input=request,
                output=response,
                idempotency_level=IdempotencyLevel.UNKNOWN,
                stream_type=kind,
            ),
            function,
        )
        for table, make, kind in (
            (UNARY, _unary, StreamType.UNARY),
            (STREAM, _stream, StreamType.SERVER_STREAM),
        )
        for name, (function, request, response) in table.items()
    }


class Application(ConnectASGIApplication):  # type: ignore[misc]  # has no types where mypy runs
    """The service, in the form that connectrpc's generated code gives it."""

    @property
    def path(self) -> str:
        """Where the service is mounted."""
        return f"/{SERVICE}"


async def serve() -> None:
    """Serve until SIGTERM."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    # A connection of the load has more requests than the 1000 after which it would be closed.
    config.keep_alive_max_requests = 1 << 60
    application = Application(
        service=object(), endpoints=_endpoints, codecs=google_protobuf_codecs()
    )
    announce(port)  # who connects now waits in the socket's queue
    await hypercorn(application, config, shutdown_trigger=stopped)


if __name__ == "__main__":
    uvloop.run(serve())
