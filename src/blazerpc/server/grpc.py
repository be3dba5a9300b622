"""The server: from listening, through its calls and the drain, to its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, runtime_checkable
from weakref import WeakSet

import grpclib.server
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.proto import ProtoCodec, ProtoStatusDetailsCodec
from grpclib.events import RecvRequest, listen
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol

from blazerpc.exceptions import ConfigurationError
from blazerpc.runtime.errors import invalid_argument
from blazerpc.server.calls import CallTracker, unimplemented
from blazerpc.server.health import HealthService
from blazerpc.server.middleware import Middleware
from blazerpc_client.transport.choice import Http, chosen_http
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.protocol import TransportProtocol
from blazerpc_client.transport.serving import CallHandler
from blazerpc_client.wire.malformed import malformed_field

if TYPE_CHECKING:
    from grpclib._typing import IServable

log: logging.Logger = logging.getLogger("blazerpc.server")

#: Answered while draining, too.
_HEALTH: Final = "/grpc.health.v1.Health/"

#: Calls that last as long as their client likes: a drain does not wait for them.
_ENDLESS: Final = (f"{_HEALTH}Watch", "/grpc.reflection.")

#: Seconds that cancelled calls have to clean up.
_CLEANUP: Final = 1.0


class Codec(ProtoCodec):
    """google.protobuf, with an answer for bytes that are no message."""

    def decode(self, data: bytes, message_type: type[Any]) -> Any:
        """Return the message.

        Raises:
            GRPCError: INVALID_ARGUMENT, naming the field where the bytes go wrong.
        """
        try:
            return message_type.FromString(data)
        except DecodeError:
            field = malformed_field(data, message_type.DESCRIPTOR)
            raise invalid_argument("not a valid protobuf message", field) from None


class _Methods(dict[str, Handler]):
    """grpclib's table of rpcs, with an entry for those that are not there.

    grpclib's own answer to an unknown path lacks the content-type that clients look for, and
    passes by all middleware.
    """

    _unknown = Handler(unimplemented, Cardinality.STREAM_STREAM, None, None)

    def get(self, path: str, default: Any = None) -> Handler:
        return super().get(path, self._unknown)


class _Server(grpclib.server.Server):
    """grpclib's server on either HTTP/2, able to stop listening without cancelling its calls."""

    def __init__(self, handlers: Sequence[IServable], http: Http, limits: Limits) -> None:
        super().__init__(handlers, codec=Codec(), status_details_codec=ProtoStatusDetailsCodec())
        self._mapping = _Methods(self._mapping)
        self._http = http
        self._limits = limits
        self._protocols: WeakSet[H2Protocol | TransportProtocol] = WeakSet()

    @property
    def port(self) -> int:
        server: Any = self._server  # uvloop's has ``sockets``, and is no ``asyncio.Server``
        port: int = server.sockets[0].getsockname()[1]
        return port

    def stop_listening(self) -> None:
        assert self._server is not None
        self._server.close()

    def drain_connections(self) -> None:
        """Tell clients to make their next calls elsewhere, where the HTTP/2 can say so."""
        for protocol in list(self._protocols):
            if isinstance(protocol, TransportProtocol):
                protocol.drain()

    def close_connections(self) -> None:
        for protocol in list(self._protocols):
            if isinstance(protocol, TransportProtocol):
                protocol.close("the server is stopping")
            elif hasattr(protocol, "processor"):  # it is connected
                protocol.processor.close("the server is stopping")

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory() if self._http == "h2" else self._own_protocol()
        self._protocols.add(protocol)
        return cast(H2Protocol, protocol)  # asyncio asks for no more than an asyncio.Protocol

    def _own_protocol(self) -> TransportProtocol:
        self.__gc_step__()
        handler = CallHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        # grpclib closes it and waits for it, as for its own.
        self._handlers.add(cast(grpclib.server.Handler, handler))
        protocol = TransportProtocol(handler, client=False, limits=self._limits)
        most = self._limits.max_connections
        if most is not None and self._connections() >= most:
            protocol.refuse()
        return protocol

    def _connections(self) -> int:
        return sum(
            isinstance(protocol, TransportProtocol) and not protocol.is_closing()
            for protocol in self._protocols
        )


@runtime_checkable
class _Closable(Protocol):
    def close(self) -> None: ...


class GRPCServer:
    """Serves grpclib handlers until it is stopped, or the process gets SIGINT or SIGTERM.

    A stop is a drain: health says NOT_SERVING, no connection is accepted, new calls on open ones
    get UNAVAILABLE, calls in flight finish. Those that outlive the grace period are cancelled.

    Args:
        handlers: the services; one that has ``close()`` is closed at the end.
        middleware: sees every call, the first of them first.
        grace_period: seconds that calls in flight have to finish.
        http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what clients may ask of BlazeRPC's HTTP/2.

    Raises:
        ConfigurationError: for a negative grace period, or an ``http`` that there is not.
    """

    def __init__(
        self,
        handlers: Sequence[IServable],
        *,
        middleware: Sequence[Middleware] | None = None,
        grace_period: float = 5.0,
        http: Http | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        if not grace_period >= 0:
            raise ConfigurationError(f"grace_period is {grace_period}; it must not be negative")
        try:
            self._http = chosen_http(http)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        self._limits = limits
        self._handlers = list(handlers)
        self._middleware = list(middleware or ())
        self._grace_period = grace_period
        self._server: _Server | None = None
        self._tracker: CallTracker | None = None
        self._signals: tuple[signal.Signals, ...] = ()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    @property
    def port(self) -> int:
        """The port it listens on; the one the system chose, when it was started with port 0."""
        if self._server is None:
            raise RuntimeError("the server does not listen")
        return self._server.port

    async def start(self, host: str = "127.0.0.1", port: int = 50051) -> None:
        """Listen, and serve until ``stop`` or a signal; return when all calls have ended.

        Raises:
            ConfigurationError: when the address cannot be listened on.
        """
        await self.listen(host, port)
        await self.wait()

    async def listen(self, host: str = "127.0.0.1", port: int = 50051) -> None:
        """Accept connections; calls are served from now on.

        Raises:
            ConfigurationError: when the address cannot be listened on.
        """
        server = _Server(self._handlers, self._http, self._limits)
        self._tracker = CallTracker.of(server)
        for middleware in self._middleware:
            middleware.attach(server)
        # The last to let a call pass: every middleware has seen one that is refused here.
        listen(server, RecvRequest, self._refuse_when_stopping)
        try:
            await server.start(host, port)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigurationError(f"cannot listen on {host}:{port}: {reason}") from error
        self._server = server
        # Before anybody is told that the server is there: they may stop it at once.
        self._handle_signals()
        log.info("listening on %s:%d", host, server.port)

    async def wait(self) -> None:
        """Serve until ``stop`` or a signal; return when all calls have ended.

        When it is cancelled, the server ends at once, and its calls with it.
        """
        try:
            await self._stopping.wait()
            await self._drain()
        finally:
            self._close()
            for number in self._signals:
                asyncio.get_running_loop().remove_signal_handler(number)

    async def stop(self) -> None:
        """Begin to drain; ``start`` returns when that is done."""
        self._stopping.set()

    def _handle_signals(self) -> None:
        """Stop on SIGINT and SIGTERM, where a loop can take signals: not in another thread."""
        if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
            self._signals = (signal.SIGINT, signal.SIGTERM)
            for number in self._signals:
                asyncio.get_running_loop().add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def _refuse_when_stopping(self, event: RecvRequest) -> None:
        if self._stopping.is_set() and not event.method_name.startswith(_HEALTH):
            raise GRPCError(Status.UNAVAILABLE, "the server is stopping")

    async def _drain(self) -> None:
        if self._server is None:
            return
        log.info("stopping: %d calls in flight", len(self._waited_for()))
        for handler in self._handlers:
            if isinstance(handler, HealthService):
                handler.set_serving(False)
        self._server.stop_listening()
        self._server.drain_connections()
        await self._calls_finished()
        left = self._waited_for()
        if left:
            log.warning("cancelling %d calls that outlived the grace period", len(left))
        self._server.close()
        if left:
            await asyncio.wait(left, timeout=_CLEANUP)

    def _close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._server.close_connections()
        self._server = None
        for handler in self._handlers:
            if isinstance(handler, _Closable):
                handler.close()
        log.info("stopped")

    async def _calls_finished(self) -> None:
        """Wait until no call is in flight, the grace period is over, or a second signal came."""
        hurry = asyncio.create_task(self._hurry.wait())
        try:
            async with asyncio.timeout(self._grace_period):
                while (tasks := self._waited_for()) and not hurry.done():
                    await asyncio.wait({*tasks, hurry}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            pass
        finally:
            hurry.cancel()

    def _waited_for(self) -> set[asyncio.Task[Any]]:
        """Return the tasks of the calls that a drain waits for."""
        assert self._tracker is not None
        return {
            call.task for call in self._tracker.in_flight if not call.method.startswith(_ENDLESS)
        }
