"""grpclib's channel, on either HTTP/2, over connections that are chosen for each call."""

from __future__ import annotations

import asyncio
import warnings
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import grpclib.client
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.events import SendRequest, listen
from grpclib.protocol import AbstractHandler, H2Protocol
from h2.config import H2Configuration
from h2.events import RemoteSettingsChanged

from blazerpc_client.backoff import Backoff
from blazerpc_client.balancing import Connections, Pool
from blazerpc_client.connecting import connect
from blazerpc_client.credentials import CallCredentials
from blazerpc_client.grpclib_channel import GrpclibChannel
from blazerpc_client.health import watch_health
from blazerpc_client.subchannel import Connection, Dial, Tell
from blazerpc_client.targets import Address, Target
from blazerpc_client.tls import ClientSecurity
from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.owner import StreamHandler
from blazerpc_client.transport.protocol import TransportProtocol
from blazerpc_client.transport.tls import TLSError
from blazerpc_client.wire.codec import Codec


class PooledChannel(grpclib.client.Channel):
    """What both kinds have in common.

    Attributes:
        connections: that calls are sent on.
    """

    connections: Connections

    async def __connect__(self) -> H2Protocol:
        connection = self.connections.pick() or await self.connections.connected()
        return cast(H2Protocol, connection)  # what grpclib's calls use of one, either has

    def close(self) -> None:
        """Close all connections; calls in flight fail."""
        self.connections.close()

    def __del__(self) -> None:
        # grpclib's own looks at a connection that is not kept here.
        if self.connections.open and not self._loop.is_closed():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2)
            self.close()


class PooledTransportChannel(PooledChannel, TransportChannel):
    """Over this package's HTTP/2."""


class PooledGrpclibChannel(PooledChannel, GrpclibChannel):
    """Over that of grpclib."""


AnyChannel: TypeAlias = PooledTransportChannel | PooledGrpclibChannel


class _Only:
    """One connection, which somebody else makes and closes."""

    open = ()

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def pick(self) -> Connection:
        return self._connection

    async def connected(self) -> Connection:
        return self._connection

    def close(self) -> None:
        """Leave it open."""


class _GrpclibConnection(H2Protocol):
    """grpclib's protocol, which tells when the server has said hello, and why it hung up."""

    failure: str | None = None
    _heard = False

    def __init__(self, handler: StreamHandler) -> None:
        super().__init__(cast(AbstractHandler, handler), _CONFIGURATION, _H2)
        self._hears = handler

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        take = self.processor.process_remote_settings_changed

        def take_settings(event: RemoteSettingsChanged) -> None:
            take(event)
            self._hears.greeted()

        self.processor.processors[RemoteSettingsChanged] = take_settings

    def data_received(self, data: bytes) -> None:
        if not self._heard and data.startswith(_TLS_ALERT):
            self.failure = "the server speaks TLS, and this connection is plaintext"
            return
        self._heard = True
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        if isinstance(exc, TLSError):
            self.failure = f"connection lost: {exc}"
        self.processor.close(self.failure or "Connection lost")

    def close(self) -> None:
        self.processor.close()

    def drain(self) -> None:
        self.processor.close()  # it cannot take calls to their end


#: How a server that speaks TLS answers what is none. No first frame is as long as this one were.
_TLS_ALERT: Final = b"\x15\x03"

_CONFIGURATION: Final = Configuration().__for_client__()
_H2: Final = H2Configuration(
    client_side=True,
    header_encoding="ascii",
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """How the connections of a channel speak.

    Attributes:
        http: that they speak.
        limits: of a connection, where the HTTP/2 is this package's.
        security: their TLS; None for plaintext.
        credentials: of the calls.
    """

    http: Http
    limits: Limits
    security: ClientSecurity | None
    credentials: CallCredentials | None


def open_pool(
    target: Target, transport: Transport, *, backoff: Backoff, health: str | None
) -> Pool:
    """Return the connections of a channel, which are made at the first call.

    Args:
        target: what they connect to.
        transport: how they speak.
        backoff: between attempts to connect.
        health: the service that a server must serve to get calls, "" for the server as a whole;
            None asks no server.
    """
    timeout = transport.limits.handshake_timeout

    async def watch(connection: Connection, tell: Tell) -> None:
        channel = channel_over(_Only(connection), target, transport)
        await watch_health(channel, health or "", tell, patience=timeout, backoff=backoff)

    return Pool(
        target,
        dial=_dial(transport),
        timeout=timeout,
        backoff=backoff,
        watch=None if health is None else watch,
    )


def channel_over(connections: Connections, target: Target, transport: Transport) -> AnyChannel:
    """Return grpclib's channel, whose calls go over ``connections``."""
    own = transport.http == "blaze"
    kind = PooledTransportChannel if own else PooledGrpclibChannel
    channel = kind(
        "localhost",  # not used, nor is the port: connections know their addresses
        0,
        codec=Codec(in_pieces=own),
        status_details_codec=ProtoStatusDetailsCodec(),
    )
    channel._authority = target.authority
    channel._scheme = "http" if transport.security is None else "https"
    if transport.credentials is not None:
        listen(channel, SendRequest, transport.credentials.add_to)
    channel.connections = connections
    return channel


def _dial(transport: Transport) -> Dial:
    limits, security = transport.limits, transport.security

    def made(handler: StreamHandler) -> TransportProtocol | _GrpclibConnection:
        if transport.http == "blaze":
            return TransportProtocol(handler, client=True, limits=limits)
        return _GrpclibConnection(handler)

    async def dial(
        address: Address, handler: StreamHandler
    ) -> TransportProtocol | _GrpclibConnection:
        return await connect(
            address, lambda: made(handler), security=security, patience=limits.handshake_timeout
        )

    return dial
