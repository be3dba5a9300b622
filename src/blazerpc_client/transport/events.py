"""What happened on a connection: the core's answer to bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from blazerpc_client.transport.headers import Fields


@dataclass(slots=True)
class HeadersReceived:
    """A request's or a response's headers."""

    stream_id: int
    fields: Fields
    end_stream: bool


@dataclass(slots=True)
class TrailersReceived:
    """The last fields of a stream; with them the peer has ended it."""

    stream_id: int
    fields: Fields


@dataclass(slots=True)
class DataReceived:
    """Data, as a view of the bytes that came: ``release`` gives its size back to the peer."""

    stream_id: int
    data: memoryview
    end_stream: bool


@dataclass(slots=True)
class StreamReset:
    """A stream has ended before its time.

    Attributes:
        stream_id: of the stream.
        code: of RST_STREAM.
        reason: for people.
        by_peer: whether the peer ended it; if not, this side did, for a fault of the peer.
        unprocessed: whether the peer says that it has done nothing of it (RFC 9113, 8.7).
    """

    stream_id: int
    code: int
    reason: str
    by_peer: bool
    unprocessed: bool = False


@dataclass(slots=True)
class WindowOpened:
    """More can be sent on a stream, or on all of them for stream 0."""

    stream_id: int


@dataclass(slots=True)
class SettingsReceived:
    """The peer's settings changed; its first frame is this one."""


@dataclass(slots=True)
class PingAcked:
    """The answer to a ping."""

    payload: bytes


@dataclass(slots=True)
class GoAwayReceived:
    """The peer takes no new streams; those it did not process were reset before this."""

    code: int
    debug: bytes


@dataclass(slots=True)
class ConnectionFailed:
    """The peer broke the rules; a GOAWAY is to be sent and the connection closed."""

    code: int
    reason: str


Event: TypeAlias = (
    HeadersReceived
    | TrailersReceived
    | DataReceived
    | StreamReset
    | WindowOpened
    | SettingsReceived
    | PingAcked
    | GoAwayReceived
    | ConnectionFailed
)
