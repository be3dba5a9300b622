"""The server: from listening, through its calls and the drain, to its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Sequence
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from grpclib.const import Status
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError

from blazerpc.config import check_http, listening_on
from blazerpc.exceptions import ConfigurationError
from blazerpc.server.calls import CallTracker
from blazerpc.server.listener import Listener
from blazerpc.server.memory import keep_large_blocks
from blazerpc.server.middleware import Middleware
from blazerpc.tls import ServerTLS, server_contexts
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.messages import Compression

if TYPE_CHECKING:
    from grpclib._typing import IServable

log: logging.Logger = logging.getLogger("blazerpc.server")

#: Answered while draining, too.
_HEALTH: Final = ("/grpc.health.v1.Health/", "/inference.GRPCInferenceService/Server")

#: Calls that last as long as their client likes: a drain does not wait for them.
_ENDLESS: Final = ("/grpc.health.v1.Health/Watch", "/grpc.reflection.")

#: Seconds that cancelled calls have to clean up.
_CLEANUP: Final = 1.0

#: Seconds that models and the lifespan have to end.
_SHUTDOWN: Final = 10.0


@runtime_checkable
class _Lifecycle(Protocol):
    """A handler that has something to begin and to end."""

    async def startup(self) -> None: ...

    async def shutdown(self) -> None: ...


@runtime_checkable
class _TellsHealth(Protocol):
    """A handler that tells clients whether the server takes calls."""

    def set_serving(self, serving: bool) -> None: ...


class Face(Protocol):
    """Another way to call what a server has; its calls are of the same ``CallTracker``."""

    @property
    def port(self) -> int:
        """The port it listens on."""

    def bind(self, host: str) -> None:
        """Take an address, or raise ``ConfigurationError``."""

    def accept(self, listener: Listener) -> None:
        """Accept calls, for what serves those of the listener."""

    def stop_listening(self) -> None:
        """Accept no more connections; calls in flight go on."""

    def cancel(self) -> None:
        """Cancel the calls in flight."""

    async def close(self) -> None:
        """End what is open."""


class GRPCServer:
    """Serves grpclib handlers until it is stopped, or the process gets SIGINT or SIGTERM.

    A stop is a drain: health says NOT_SERVING, no connection is accepted, new calls on open ones
    get UNAVAILABLE, calls in flight finish. Those that outlive the grace period are cancelled.

    Args:
        handlers: the services; those that have ``startup()`` and ``shutdown()``, coroutine
            functions, are started before anybody can connect, and shut down at the end.
        middleware: sees every call, the first of them first.
        grace_period: seconds that calls in flight have to finish.
        http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what clients may ask of BlazeRPC's HTTP/2; grpclib's has ``handshake_timeout``
            alone, which is that of TLS.
        ssl: how connections are encrypted; None for plaintext.
        compression: ``"gzip"`` compresses the answers for clients that take it.
        face: takes calls in another way, for the same handlers.

    Raises:
        ConfigurationError: for a negative grace period, an ``http`` that there is not, certificates
            that cannot be used, or compression or limits for grpclib's, which has none.
    """

    def __init__(
        self,
        handlers: Sequence[IServable],
        *,
        middleware: Sequence[Middleware] | None = None,
        grace_period: float = 5.0,
        http: Http | None = None,
        limits: Limits = DEFAULT,
        ssl: ServerTLS | SSLContext | None = None,
        compression: Compression | None = None,
        face: Face | None = None,
    ) -> None:
        if not grace_period >= 0:
            raise ConfigurationError(f"grace_period is {grace_period}; it must not be negative")
        self._http = check_http(http, limits, compression)
        self._limits = limits
        self._contexts = None if ssl is None else server_contexts(ssl)
        self._compression = compression
        self._face = face
        self._handlers = list(handlers)
        self._middleware = list(middleware or ())
        self._grace_period = grace_period
        self._server: Listener | None = None
        self._tracker: CallTracker | None = None
        self._started: list[_Lifecycle] = []
        self._signals: tuple[signal.Signals, ...] = ()
        self._signalled = False
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def port(self) -> int:
        """The port it listens on; the one the system chose, when it was started with port 0.

        It is 0 for a UNIX socket.
        """
        if self._server is None:
            raise RuntimeError("the server does not listen")
        return self._server.port

    @property
    def face_port(self) -> int | None:
        """The port of the other way to call it; None without one."""
        return None if self._face is None else self._face.port

    @property
    def is_serving(self) -> bool:
        """Whether it takes calls: it listens, and nobody has told it to stop."""
        return self._server is not None and not self._stopping.is_set()

    async def start(self, host: str = "127.0.0.1", port: int = 50051) -> None:
        """Listen, and serve until ``stop`` or a signal; return when all calls have ended.

        Raises:
            ConfigurationError: when the address cannot be listened on.
            StartupError: when what the handlers start fails.
        """
        await self.listen(host, port)
        await self.wait()

    async def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 50051,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Start the handlers, and accept connections: calls are served from now on.

        When it is told to stop before that, it returns, and so does ``wait``.

        Args:
            host: address to listen on; ``unix:PATH`` for a UNIX socket.
            port: likewise.
            sock: bound to that address already, to listen on; it is closed at the end.
            reuse_port: whether other processes listen there, too.

        Raises:
            ConfigurationError: when the address cannot be listened on.
            StartupError: when what the handlers start fails.
        """
        keep_large_blocks()
        server = Listener(
            self._handlers,
            self._http,
            self._limits,
            contexts=self._contexts,
            compression=self._compression,
        )
        self._tracker = CallTracker.of(server)
        for middleware in self._middleware:
            middleware.attach(server)
        if self._http == "h2":
            # The last to let a call pass: every middleware has seen one that is refused here.
            # BlazeRPC's HTTP/2 takes what was sent before its client knew, and then no more.
            listen(server, RecvRequest, self._refuse_when_stopping)
        try:
            # Before the models are built, which may take long.
            await server.bind(host, port, sock=sock, reuse_port=reuse_port)
        except OSError as error:
            reason, where = error.strerror or error, listening_on(host, port)
            raise ConfigurationError(f"cannot listen on {where}: {reason}") from error
        self._server = server
        if self._face is not None:
            try:
                self._face.bind(host)
            except BaseException:
                await self._end()
                raise
        # Before anybody is told that the server is there: they may stop it at once.
        self._handle_signals()
        try:
            await self._start_handlers()
        except BaseException:
            await self._end()
            raise
        if self.is_serving:
            self._say_serving(True)
            await server.accept()
            if self._face is not None:
                self._face.accept(server)
            log.info("listening on %s", listening_on(host, server.port))

    async def wait(self) -> None:
        """Serve until ``stop`` or a signal; return when all calls have ended.

        When it is cancelled, the server ends at once, and its calls with it.
        """
        try:
            await self._stopping.wait()
            await self._drain()
        finally:
            await self._end()
            log.info("stopped")

    async def stop(self, *, hurry: bool = False) -> None:
        """Begin to drain; ``start`` returns when that is done.

        Args:
            hurry: whether calls in flight are cancelled, and not waited for.
        """
        if hurry:
            self._hurry.set()
        self._stopping.set()

    def _handle_signals(self) -> None:
        """Stop on SIGINT and SIGTERM, where a loop can take signals: not in another thread."""
        if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
            self._signals = (signal.SIGINT, signal.SIGTERM)
            for number in self._signals:
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        # Signals are counted apart from stops: a supervisor and the terminal may both ask for one.
        if self._signalled:
            self._hurry.set()
        self._signalled = True
        self._stopping.set()

    async def _refuse_when_stopping(self, event: RecvRequest) -> None:
        if self._stopping.is_set() and not event.method_name.startswith(_HEALTH):
            raise GRPCError(Status.UNAVAILABLE, "the server is stopping")

    async def _drain(self) -> None:
        if self._server is None:
            return
        log.info("stopping: %d calls in flight", len(self._waited_for()))
        self._say_serving(False)
        self._server.stop_listening()
        if self._face is not None:
            self._face.stop_listening()
        await self._calls_finished(self._server)
        left = self._waited_for()
        if left:
            log.warning("cancelling %d calls that outlived the grace period", len(left))
        self._server.close()
        if self._face is not None:
            self._face.cancel()
        if left:
            await asyncio.wait(left, timeout=_CLEANUP)
        # What a client has not read yet, a socket that is closed too early takes away.
        await self._unless_hurried(self._server.connections_lost(), _CLEANUP)

    def _say_serving(self, serving: bool) -> None:
        for handler in self._handlers:
            if isinstance(handler, _TellsHealth):
                handler.set_serving(serving)

    async def _start_handlers(self) -> None:
        """Start those handlers that have something to start, until ``stop`` or a signal."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            for handler in self._handlers:
                if isinstance(handler, _Lifecycle):
                    starting = asyncio.create_task(handler.startup())
                    await _first({starting, stopping})
                    if not starting.done():
                        log.info("stopped before all was started")
                        await _ended(starting)
                        return
                    await starting
                    self._started.append(handler)
        finally:
            stopping.cancel()

    async def _end(self) -> None:
        """Close what is open, and shut down what was started."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            server.close_connections()
        if self._face is not None:
            await self._face.close()
        started, self._started = self._started, []
        for handler in reversed(started):
            ending = asyncio.create_task(handler.shutdown())
            hurry = asyncio.create_task(self._hurry.wait())
            await _first({ending, hurry}, _SHUTDOWN)
            hurry.cancel()
            if not ending.done():
                log.warning("models do not end; giving up on them")
            await _ended(ending)
        for number in self._signals:
            asyncio.get_running_loop().remove_signal_handler(number)
        self._signals = ()

    async def _calls_finished(self, server: Listener) -> None:
        """Wait until no call is in flight, the grace period is over, or a second signal came."""
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            async with asyncio.timeout(self._grace_period):
                await self._unless_hurried(server.drain_connections())
                while (tasks := self._waited_for()) and not hurry.done():
                    await asyncio.wait({*tasks, hurry}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        finally:
            hurry.cancel()

    async def _unless_hurried(
        self, waiting: Coroutine[Any, Any, None], patience: float | None = None
    ) -> None:
        """Wait for something, until a second signal comes."""
        tasks = {asyncio.create_task(waiting), asyncio.create_task(self._hurry.wait())}
        try:
            await _first(tasks, patience)
        finally:
            for task in tasks:
                task.cancel()

    def _waited_for(self) -> set[asyncio.Task[Any]]:
        """Return the tasks of the calls that a drain waits for."""
        assert self._tracker is not None
        return {
            call.task for call in self._tracker.in_flight if not call.method.startswith(_ENDLESS)
        }


async def _first(tasks: set[asyncio.Task[Any]], patience: float | None = None) -> None:
    """Wait until one of the tasks has ended."""
    await asyncio.wait(tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task that has not ended, and log what it raised."""
    task.cancel()
    await asyncio.wait([task], timeout=_CLEANUP)
    if task.done() and not task.cancelled() and task.exception() is not None:
        log.error("shutting down failed", exc_info=task.exception())
