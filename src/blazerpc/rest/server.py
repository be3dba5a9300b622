"""Listens for HTTP: uvicorn, in the event loop and under the signals of the server of gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from blazerpc.exceptions import ConfigurationError
from blazerpc.rest.connections import LimitedConfig
from blazerpc.rest.routes import Routes
from blazerpc.server.listener import Listener
from blazerpc_client.transport.limits import Limits

#: Connections that the system keeps until they are accepted.
_BACKLOG: Final = 1024

#: Seconds that a connection may be idle between requests.
_IDLE: Final = 60


#: Seconds that connections have to end.
_CLEANUP: Final = 1.0


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class RestServer:
    """The HTTP face of a server.

    Args:
        routes: makes what can be asked, once there is what serves the calls.
        port: to listen on; 0 lets the system choose.
        limits: of its connections.
    """

    def __init__(self, routes: Callable[[Listener], Routes], port: int, limits: Limits) -> None:
        self._make_routes = routes
        self._routes: Routes | None = None
        self._port = port
        self._limits = limits
        self._socket: socket.socket | None = None
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._socket is None:
            raise RuntimeError("it does not listen")
        port: int = self._socket.getsockname()[1]
        return port

    def bind(self, host: str) -> None:
        """Take the address; connections are refused until ``accept``.

        Raises:
            ConfigurationError: when it cannot be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, self._port))
        except OSError as error:
            self._socket.close()
            reason = error.strerror or error
            raise ConfigurationError(
                f"cannot listen on {host}:{self._port} for HTTP: {reason}"
            ) from error

    def accept(self, listener: Listener) -> None:
        """Accept connections."""
        assert self._socket is not None
        self._socket.listen(_BACKLOG)
        self._routes = self._make_routes(listener)
        config = LimitedConfig(
            self._routes.app(),
            self._limits,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_IDLE,
        )
        self._server = _Uvicorn(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))

    def stop_listening(self) -> None:
        """Accept no more connections, and end those without a request in flight."""
        if self._server is not None:
            self._server.should_exit = True

    def cancel(self) -> None:
        """Cancel the calls in flight."""
        if self._routes is not None:
            self._routes.cancel()

    async def close(self) -> None:
        """End all connections."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            # Answers whose calls have ended may still be on their way.
            await asyncio.wait([self._task], timeout=_CLEANUP)
            # What nobody reads does not end before its connection does.
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await asyncio.wait([self._task], timeout=_CLEANUP)
            self._server.force_exit = True
            for task in self._server.server_state.tasks:
                task.cancel()
            await asyncio.wait([self._task])
        if self._socket is not None:
            self._socket.close()
