"""Frames that may not be, one by one: what ends the connection, and what its stream alone."""

from __future__ import annotations

import pytest

from blazerpc_client.transport import frames
from blazerpc_client.transport.connection import Connection
from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.events import StreamReset
from blazerpc_client.transport.frames import ACK, END_HEADERS, PADDED
from blazerpc_client.transport.headers import encode
from tests.unit.blazerpc_client.transport.peers import (
    LONG,
    REQUEST,
    RESPONSE,
    TRAILERS,
    client,
    data,
    fault,
    frame,
    request,
    server,
    stream_fault,
)

ILLEGAL = {
    "data on stream 0": (data(0, b"a"), ErrorCode.PROTOCOL_ERROR),
    "data on an idle stream": (data(5, b"a"), ErrorCode.PROTOCOL_ERROR),
    "headers on stream 0": (request(0), ErrorCode.PROTOCOL_ERROR),
    "headers on an even stream": (request(4), ErrorCode.PROTOCOL_ERROR),
    "priority on stream 0": (frame(2, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "reset on stream 0": (frame(3, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "reset of an idle stream": (frame(3, 0, 9, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "reset of 3 bytes": (frame(3, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "settings on a stream": (frame(4, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "settings of 5 bytes": (frame(4, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "settings acknowledged with some": (frame(4, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "push": (frame(5, END_HEADERS, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "ping on a stream": (frame(6, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "ping of 7 bytes": (frame(6, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "goaway on a stream": (frame(7, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "goaway of 7 bytes": (frame(7, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "window of 0": (frame(8, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "window of 3 bytes": (frame(8, 0, 0, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "window of an idle stream": (frame(8, 0, 9, LONG.pack(1)), ErrorCode.PROTOCOL_ERROR),
    "window too large": (frame(8, 0, 0, LONG.pack(0x7FFFFFFF)), ErrorCode.FLOW_CONTROL_ERROR),
    "continuation of nothing": (frame(9, 4, 1), ErrorCode.PROTOCOL_ERROR),
    "padding of a whole frame": (frame(0, PADDED, 1, b"\x02a"), ErrorCode.PROTOCOL_ERROR),
    "padding without a length": (frame(0, PADDED, 1), ErrorCode.FRAME_SIZE_ERROR),
    "headers without a padding": (frame(1, PADDED, 3), ErrorCode.FRAME_SIZE_ERROR),
    "headers of padding": (frame(1, PADDED, 3, b"\x02a"), ErrorCode.PROTOCOL_ERROR),
    "headers without a priority": (frame(1, 0x20, 3, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "headers that are no HPACK": (frame(1, 4, 3, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "a frame too large": (frames.head(1 << 20 | 1, 0, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
    "settings too large": (frames.head(1 << 20, 4, 0, 0), ErrorCode.ENHANCE_YOUR_CALM),
    "push allowed by 2": (frames.settings({2: 2}), ErrorCode.PROTOCOL_ERROR),
    "initial window too large": (frames.settings({4: 1 << 31}), ErrorCode.FLOW_CONTROL_ERROR),
    "frames too small": (frames.settings({5: 100}), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("raw", "code"), ILLEGAL.values(), ids=ILLEGAL)
@pytest.mark.parametrize("whole", [True, False])
def test_a_frame_that_may_not_be_ends_the_connection(
    raw: bytes, code: ErrorCode, whole: bool
) -> None:
    connection = server()
    connection.receive(request(1), 0)
    if not whole:
        connection.receive(raw[:5], 0)
        raw = raw[5:]
    assert fault(connection, raw) is code


ILLEGAL_ON_A_STREAM = {
    "window of 0": (frame(8, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "window too large": (frame(8, 0, 1, LONG.pack(0x7FFFFFFF)), ErrorCode.FLOW_CONTROL_ERROR),
    "priority of 4 bytes": (frame(2, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "trailers that end nothing": (request(1, TRAILERS), ErrorCode.PROTOCOL_ERROR),
    "trailers with a path": (request(1, REQUEST, end=True), ErrorCode.PROTOCOL_ERROR),
    "data after the end": (data(1, b"", end=True) + data(1, b"a"), ErrorCode.STREAM_CLOSED),
    "trailers after the end": (
        data(1, b"", end=True) + request(1, TRAILERS, end=True),
        ErrorCode.STREAM_CLOSED,
    ),
    "a request without a path": (request(3, REQUEST[:2]), ErrorCode.PROTOCOL_ERROR),
    "data on a closed stream": (frame(3, 0, 1, bytes(4)) + data(1, b"a"), ErrorCode.STREAM_CLOSED),
    "headers on a closed stream": (frame(3, 0, 1, bytes(4)) + request(1), ErrorCode.STREAM_CLOSED),
    "more than its content-length": (
        request(3, (*REQUEST, ("content-length", "1"))) + data(3, b"ab"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "less than its content-length": (
        request(3, (*REQUEST, ("content-length", "2"))) + data(3, b"a", end=True),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "none of its content-length": (
        request(3, (*REQUEST, ("content-length", "2")), end=True),
        ErrorCode.PROTOCOL_ERROR,
    ),
}


@pytest.mark.parametrize(("raw", "code"), ILLEGAL_ON_A_STREAM.values(), ids=ILLEGAL_ON_A_STREAM)
def test_a_frame_that_may_not_be_on_a_stream_resets_it(raw: bytes, code: ErrorCode) -> None:
    connection = server()
    connection.receive(request(1), 0)
    assert stream_fault(connection, raw) is code


def test_what_a_client_may_not_receive() -> None:
    def asking(settings: dict[int, int] | None = None) -> Connection:
        connection = client(settings=settings)
        connection.open(encode(REQUEST), end_stream=True)
        connection.take()
        return connection

    assert fault(asking(), frames.settings({2: 1})) is ErrorCode.PROTOCOL_ERROR
    assert fault(asking(), frame(5, 4, 1, bytes(4))) is ErrorCode.PROTOCOL_ERROR
    assert fault(asking(), request(2, RESPONSE)) is ErrorCode.PROTOCOL_ERROR
    assert fault(asking(), request(3, RESPONSE)) is ErrorCode.PROTOCOL_ERROR
    assert stream_fault(asking(), data(1, b"a")) is ErrorCode.PROTOCOL_ERROR
    assert stream_fault(asking(), request(1, REQUEST)) is ErrorCode.PROTOCOL_ERROR
    interim = request(1, ((":status", "103"),), end=True)
    assert stream_fault(asking(), interim) is ErrorCode.PROTOCOL_ERROR


def test_a_reset_stream_is_heard_of_by_the_caller() -> None:
    connection = server()
    connection.receive(request(1), 0)
    (event,) = connection.receive(frame(8, 0, 1, bytes(4)), 0)
    assert isinstance(event, StreamReset)
    assert not event.by_peer
    # A malformed request never became one.
    assert connection.receive(request(3, REQUEST[:2]), 0) == []
