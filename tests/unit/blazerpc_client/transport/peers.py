"""Our core and h2 as the two ends of a connection, and frames that no library would send."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.events

from blazerpc_client.transport import frames
from blazerpc_client.transport.connection import Connection
from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    HeadersReceived,
    StreamReset,
)
from blazerpc_client.transport.frames import END_HEADERS, END_STREAM, FrameType
from blazerpc_client.transport.headers import Fields, encode
from blazerpc_client.transport.limits import Limits

REQUEST: Fields = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/a.Service/Method"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
RESPONSE: Fields = ((":status", "200"), ("content-type", "application/grpc"))
TRAILERS: Fields = (("grpc-status", "0"),)

LONG = struct.Struct(">I")


def sent(connection: Connection) -> bytes:
    """Return what a connection has to send, joined."""
    return b"".join(connection.take())


def h2_peer(*, client: bool) -> h2.connection.H2Connection:
    """Return h2, as strict as it can be."""
    config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8")
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    return connection


class Pair:
    """Our end and h2's; ``exchange`` carries bytes until both are silent."""

    def __init__(self, *, client: bool, limits: Limits | None = None, step: int = 1 << 20) -> None:
        self.ours = Connection(client=client, limits=limits or Limits())
        self.theirs = h2_peer(client=not client)
        self.our_events: list[Event] = []
        self.their_events: list[h2.events.Event] = []
        self._step = step
        self.exchange()

    def exchange(self) -> None:
        while True:
            to_them = sent(self.ours)
            if to_them:
                self.their_events += self.theirs.receive_data(to_them)
            to_us = self.theirs.data_to_send()
            for piece in cut(to_us, self._step):
                self.our_events += self.ours.receive(piece, 0)
            if not to_them and not to_us:
                return


def cut(data: bytes, step: int) -> Iterable[bytes]:
    return (data[i : i + step] for i in range(0, len(data), step))


def server(limits: Limits | None = None, settings: dict[int, int] | None = None) -> Connection:
    """Return our server, after a client's preface; what it answered is dropped."""
    connection = Connection(client=False, limits=limits or Limits())
    assert not failures(connection.receive(frames.PREFACE + frames.settings(settings or {}), 0))
    connection.take()
    return connection


def client(limits: Limits | None = None, settings: dict[int, int] | None = None) -> Connection:
    """Return our client, after a server's settings; what it sent is dropped."""
    connection = Connection(client=True, limits=limits or Limits())
    assert not failures(connection.receive(frames.settings(settings or {}), 0))
    connection.take()
    return connection


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return frames.head(len(payload), kind, flags, stream_id) + payload


def request(stream_id: int, fields: Fields = REQUEST, *, end: bool = False) -> bytes:
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(FrameType.HEADERS, flags, stream_id, encode(fields))


def data(stream_id: int, payload: bytes, *, end: bool = False) -> bytes:
    return frame(FrameType.DATA, END_STREAM if end else 0, stream_id, payload)


def failures(events: Iterable[Event]) -> list[ConnectionFailed]:
    return [event for event in events if isinstance(event, ConnectionFailed)]


def resets(events: Iterable[Event]) -> list[StreamReset]:
    return [event for event in events if isinstance(event, StreamReset)]


def frames_in(raw: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return type, flags, stream and payload of each frame."""
    found = []
    view, position = memoryview(raw), 0
    while position < len(raw):
        length, kind, flags, stream_id = frames.read_head(view, position)
        position += frames.HEAD_SIZE
        found.append((kind, flags, stream_id, raw[position : position + length]))
        position += length
    return found


def drive(connection: Connection, raw: bytes, step: int) -> list[object]:
    """Feed ``raw``, and do what an endpoint does; return what was heard, data joined."""
    heard: list[object] = []
    for begin in range(0, len(raw), step):
        for event in connection.receive(raw[begin : begin + step], begin * 1e-6):
            if isinstance(event, DataReceived):
                connection.release(event.stream_id, len(event.data))
                heard.append((event.stream_id, bytes(event.data), event.end_stream))
            else:
                heard.append(event)
            if isinstance(event, HeadersReceived) and connection.is_open(event.stream_id):
                connection.ping(bytes(8))
    return heard


def joined(heard: list[object]) -> list[object]:
    """Return the same with the data of neighbouring pieces as one."""
    result: list[object] = []
    for event in heard:
        last = result[-1] if result else None
        if (
            isinstance(event, tuple)
            and isinstance(last, tuple)
            and event[0] == last[0]
            and not last[2]
        ):
            result[-1] = (event[0], last[1] + event[1], event[2])
        else:
            result.append(event)
    return result


def connected(client: bool) -> Connection:
    connection = Connection(client=client, limits=Limits(max_header_list=1 << 10))
    if client:
        connection.receive(frames.settings({}), 0)
        for _ in range(2):
            connection.open(encode(REQUEST), end_stream=False)
    else:
        connection.receive(frames.PREFACE + frames.settings({}), 0)
    connection.take()
    return connection


def fault(connection: Connection, raw: bytes, now: float = 0) -> ErrorCode:
    """Return the code with which a connection ends over ``raw``; check that it says so."""
    (failure,) = failures(connection.receive(raw, now))
    kind, _, stream_id, payload = frames_in(sent(connection))[-1]
    assert (kind, stream_id) == (FrameType.GOAWAY, 0)
    assert LONG.unpack_from(payload, 4)[0] == failure.code
    assert connection.receive(raw, now) == []
    assert not connection.pending
    return ErrorCode(failure.code)


def stream_fault(connection: Connection, raw: bytes) -> ErrorCode:
    """Return the code with which the last stream is reset; check that the connection goes on."""
    events = connection.receive(raw, 0)
    assert not failures(events)
    found = [payload for kind, _, _, payload in frames_in(sent(connection)) if kind == 3]
    assert len(found) == 1
    assert not failures(connection.receive(frame(FrameType.PING, 0, 0, bytes(8)), 0))
    return ErrorCode(LONG.unpack(found[0])[0])
