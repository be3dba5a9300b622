"""grpclib's server: its codec, its table of rpcs, and the connections it has on either HTTP/2."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

import grpclib.server
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.events import _DispatchServerEvents
from grpclib.protocol import H2Protocol

from blazerpc.runtime.errors import invalid_argument
from blazerpc.server.calls import current_call, unimplemented
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.dispatch import ServerEvents
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.messages import Compression, size_of
from blazerpc_client.transport.protocol import TransportProtocol
from blazerpc_client.transport.serving import CallHandler
from blazerpc_client.wire.codec import Codec
from blazerpc_client.wire.malformed import malformed_field

if TYPE_CHECKING:
    from grpclib._typing import IServable

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
        self._compression = compression
        self._protocols: WeakSet[H2Protocol | TransportProtocol] = WeakSet()

    def handler(self, path: str) -> Handler:
        """Return what serves the calls of a path; raise ``KeyError`` for an unknown one."""
        return self._mapping[path]

    async def bind(
        self, host: str, port: int, *, sock: socket.socket | None, reuse_port: bool
    ) -> None:
        """Take the address, or a socket that has it; connections are refused until ``accept``.

        Raises:
            OSError: when it cannot be had.
        """
        where: dict[str, Any] = {"host": host, "port": port, "reuse_port": reuse_port}
        self._server = await self._loop.create_server(
            self._protocol_factory,
            **({"sock": sock} if sock is not None else where),
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
        """The port it listens on."""
        server: Any = self._server  # uvloop's has ``sockets``, and is no ``asyncio.Server``
        port: int = server.sockets[0].getsockname()[1]
        return port

    def stop_listening(self) -> None:
        """Accept no more connections; those that are open stay."""
        assert self._server is not None
        self._server.close()

    def drain_connections(self) -> None:
        """Tell clients to make their next calls elsewhere, where the HTTP/2 can say so."""
        for protocol in list(self._protocols):
            if isinstance(protocol, TransportProtocol):
                protocol.drain()

    def close_connections(self) -> None:
        """Close the connections that are open, and with them their calls."""
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
        return sum(
            isinstance(protocol, TransportProtocol) and not protocol.is_closing()
            for protocol in self._protocols
        )
