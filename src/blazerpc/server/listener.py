"""grpclib's server: its codec, its table of rpcs, and the connections it has on either HTTP/2."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

import grpclib.server
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.events import _DispatchServerEvents
from grpclib.protocol import H2Protocol

from blazerpc.runtime.errors import invalid_argument
from blazerpc.server.calls import address_of, current_call, unimplemented
from blazerpc.unix import UnixSocket
from blazerpc_client.targets import unix_path
from blazerpc_client.tls import Contexts
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.dispatch import ServerEvents
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.messages import Compression, size_of
from blazerpc_client.transport.protocol import TransportProtocol
from blazerpc_client.transport.serving import CallHandler
from blazerpc_client.transport.tls import TLSError, TLSProtocol
from blazerpc_client.wire.codec import Codec
from blazerpc_client.wire.malformed import malformed_field

if TYPE_CHECKING:
    from grpclib._typing import IServable

log: logging.Logger = logging.getLogger("blazerpc.server")

#: Connections that the system keeps until they are accepted.
_BACKLOG: Final = 1024


class ServerCodec(Codec):
    """Counts the bytes of calls, and has an answer for those that are no message."""

    def decode(self, data: bytes, message_type: type[Any]) -> Any:
        """Return the message.

        Raises:
            GRPCError: INVALID_ARGUMENT, naming the field where the bytes go wrong.
        """
        if (call := current_call()) is not None:
            call.received += len(data)
        try:
            return super().decode(data, message_type)
        except DecodeError:
            field = malformed_field(bytes(data), message_type.DESCRIPTOR)
            raise invalid_argument("not a valid protobuf message", field) from None

    def encode(self, message: Any, message_type: type[Any]) -> bytes:
        """Return the bytes."""
        data: bytes
        if type(message) is message_type:  # as most are, of many in a stream
            data = message.SerializeToString()
            size = len(data)
        else:
            data = super().encode(message, message_type)
            size = size_of(data)
        if (call := current_call()) is not None:
            call.sent += size
        return data


class _Methods(dict[str, Handler]):
    """grpclib's table of rpcs, with an entry for those that are not there.

    grpclib's own answer to an unknown path lacks the content-type that clients look for, and
    passes by all middleware.
    """

    _unknown = Handler(unimplemented, Cardinality.STREAM_STREAM, None, None)

    def get(self, path: str, default: Any = None) -> Handler:
        return super().get(path, self._unknown)


class Listener(grpclib.server.Server):
    """grpclib's server on either HTTP/2, able to stop listening without cancelling its calls."""

    def __init__(
        self,
        handlers: Sequence[IServable],
        http: Http,
        limits: Limits,
        *,
        contexts: Contexts | None = None,
        compression: Compression | None = None,
    ) -> None:
        super().__init__(
            handlers,
            codec=ServerCodec(in_pieces=http == "blaze"),
            status_details_codec=ProtoStatusDetailsCodec(),
        )
        self._mapping = _Methods(self._mapping)
        if http == "blaze":
            self.__dispatch__: _DispatchServerEvents = ServerEvents()
        self._http = http
        self._limits = limits
        self._contexts = contexts
        self._compression = compression
        self._file: UnixSocket | None = None
        self._protocols: WeakSet[H2Protocol | TransportProtocol] = WeakSet()
        self._layers: WeakSet[TLSProtocol] = WeakSet()

    def function(self, path: str) -> Callable[[Any], Awaitable[None]]:
        """Return what serves the calls of a path; raise ``KeyError`` for an unknown one."""
        return cast(Callable[[Any], Awaitable[None]], self._mapping[path].func)

    def request_class(self, path: str) -> type[Any]:
        """Return the class of its requests, likewise."""
        return cast(type[Any], self._mapping[path].request_type)

    async def bind(
        self, host: str, port: int, *, sock: socket.socket | None, reuse_port: bool
    ) -> None:
        """Take the address, or a socket that has it; connections are refused until ``accept``.

        Raises:
            OSError: when it cannot be had.
        """
        path = unix_path(host)
        options: dict[str, Any] = {"sock": sock}
        create: Callable[..., Awaitable[asyncio.Server]] = self._loop.create_server
        if path is not None:
            create = self._loop.create_unix_server
            if sock is None:
                self._file = UnixSocket(path)
                options["sock"] = self._file.socket
            if sys.version_info >= (3, 13):
                # The first worker to stop would take the file from the others.
                options["cleanup_socket"] = False
        elif sock is None:
            options = {"host": host, "port": port, "reuse_port": reuse_port}
        self._server = await create(
            self._protocol_factory if self._contexts is None else self._secured,
            **options,
            backlog=_BACKLOG,
            start_serving=False,
        )
        self._server_closed_fut = self._loop.create_future()

    async def accept(self) -> None:
        """Accept connections."""
        assert self._server is not None
        await self._server.start_serving()

    @property
    def port(self) -> int:
        """The port it listens on; 0 for a UNIX socket, which has none."""
        server: Any = self._server  # uvloop's has ``sockets``, and is no ``asyncio.Server``
        name = server.sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def stop_listening(self) -> None:
        """Accept no more connections; those that are open stay."""
        assert self._server is not None
        self._server.close()
        self._remove_file()

    def close(self) -> None:
        """Accept no more connections, and cancel the calls of those that are open."""
        super().close()
        self._remove_file()

    async def drain_connections(self) -> None:
        """Tell clients to make their next calls elsewhere, where the HTTP/2 can say so.

        It returns when no call can come any more that was on its way.
        """
        self._abort_handshakes()
        own = self._own_protocols()
        for protocol in own:
            protocol.drain()
        await asyncio.gather(*(protocol.takes_no_more() for protocol in own))

    async def connections_lost(self) -> None:
        """Wait until the clients have closed the connections that they were told to leave."""
        await asyncio.gather(*(protocol.wait_lost() for protocol in self._own_protocols()))

    def close_connections(self) -> None:
        """Close the connections that are open, and with them their calls."""
        self._abort_handshakes()
        for protocol in list(self._protocols):
            if isinstance(protocol, TransportProtocol):
                protocol.close("the server is stopping")
            elif hasattr(protocol, "processor"):  # it is connected
                protocol.processor.close("the server is stopping")

    def _own_protocols(self) -> list[TransportProtocol]:
        return [each for each in self._protocols if isinstance(each, TransportProtocol)]

    def _abort_handshakes(self) -> None:
        for layer in list(self._layers):
            if layer.is_pending:
                layer.abort()

    def _secured(self) -> asyncio.Protocol:
        """Return a protocol of a new connection, with TLS below it."""
        assert self._contexts is not None
        layer = TLSProtocol(
            self._protocol_factory(),
            self._contexts.current(),
            server_hostname=None,
            timeout=self._limits.handshake_timeout,
            told=lambda failure: self._on_handshake(layer, failure),
        )
        self._layers.add(layer)
        return layer

    def _on_handshake(self, layer: TLSProtocol, failure: TLSError | None) -> None:
        if failure is not None:
            # A probe of the port connects and says nothing: it is no failure of anybody.
            level = logging.WARNING if layer.heard else logging.DEBUG
            log.log(level, "no TLS with %s: %s", address_of(layer.address), failure)

    def _remove_file(self) -> None:
        if self._file is not None:
            self._file.remove()
            self._file = None

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory() if self._http == "h2" else self._own_protocol()
        self._protocols.add(protocol)
        return cast(H2Protocol, protocol)  # asyncio asks for no more than an asyncio.Protocol

    def _own_protocol(self) -> TransportProtocol:
        self.__gc_step__()
        handler = CallHandler(
            self._mapping,
            self._codec,
            self._status_details_codec,
            self.__dispatch__,
            self._compression,
        )
        # grpclib closes it and waits for it, as for its own.
        self._handlers.add(cast(grpclib.server.Handler, handler))
        protocol = TransportProtocol(handler, client=False, limits=self._limits)
        most = self._limits.max_connections
        if most is not None and self._connections() >= most:
            protocol.refuse()
        return protocol

    def _connections(self) -> int:
        # Those accepted in this turn of the loop count, and those closed that have more to write.
        if self._contexts is not None:
            return sum(not layer.lost for layer in self._layers)
        return sum(
            isinstance(protocol, TransportProtocol) and not protocol.lost
            for protocol in self._protocols
        )
