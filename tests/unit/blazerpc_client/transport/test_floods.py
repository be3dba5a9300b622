"""What a peer may send, but not so much or so often of it."""

from __future__ import annotations

import pytest

from blazerpc_client.transport import frames
from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.events import HeadersReceived, WindowOpened
from blazerpc_client.transport.frames import ACK, PADDED, FrameType
from blazerpc_client.transport.headers import encode
from blazerpc_client.transport.limits import Limits, Pace
from tests.unit.blazerpc_client.transport.peers import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    client,
    data,
    failures,
    fault,
    frame,
    frames_in,
    request,
    sent,
    server,
    stream_fault,
)

FEW = Pace(burst=5, per_second=1)


def test_rapid_reset() -> None:
    connection = server(Limits(resets=FEW))
    for number in range(1, 11, 2):
        assert not failures(connection.receive(request(number) + frames.rst_stream(number, 8), 0))
    raw = request(11) + frames.rst_stream(11, 8)
    assert fault(connection, raw) is ErrorCode.ENHANCE_YOUR_CALM


def test_resets_at_a_pace_are_no_abuse() -> None:
    connection = server(Limits(resets=FEW))
    for number in range(50):
        raw = request(number * 2 + 1) + frames.rst_stream(number * 2 + 1, 8)
        assert not failures(connection.receive(raw, number))


def test_streams_a_client_makes_the_server_reset_are_counted_too() -> None:
    connection = server(Limits(stream_errors=FEW))
    for number in range(1, 11, 2):
        raw = request(number) + frame(8, 0, number, bytes(4))
        assert not failures(connection.receive(raw, 0))
    raw = request(11) + frame(8, 0, 11, bytes(4))
    assert fault(connection, raw) is ErrorCode.ENHANCE_YOUR_CALM


def test_window_updates_of_a_window_that_is_open_tell_nobody() -> None:
    connection = server(settings={4: 0})
    connection.receive(request(1) + request(3), 0)
    opened = frames.window_update(1, 10) * 100
    assert connection.receive(opened, 0) == [WindowOpened(1)]
    connection.send_headers(1, encode(RESPONSE), end_stream=False)
    assert connection.send_data(1, memoryview(bytes(2000)), end_stream=False) == 1000
    assert connection.receive(opened, 0) == [WindowOpened(1)]
    # Of a window that settings made negative, one that makes it less so is no use to anybody.
    connection.receive(frames.settings({4: 1000}) + frames.window_update(3, 1000), 0)
    connection.send_headers(3, encode(RESPONSE), end_stream=False)
    assert connection.send_data(3, memoryview(bytes(2000)), end_stream=False) == 2000
    connection.receive(frames.settings({4: 0}), 0)
    assert connection.receive(frames.window_update(3, 1000), 0) == []
    assert connection.receive(frames.window_update(3, 1), 0) == [WindowOpened(3)]


@pytest.mark.parametrize(
    "raw",
    [
        frames.settings({}),
        frame(6, 0, 0, bytes(8)),
        data(1, b""),
        frame(0, PADDED, 1, b"\x01\0"),
        frame(2, 0, 1, bytes(5)),
        frame(0x77, 0, 0),
        frames.SETTINGS_ACK,
        frame(6, ACK, 0, bytes(8)),
        frames.goaway(0, 0),
        frames.window_update(0, 1),
        frames.window_update(1, 1),
    ],
    ids=[
        "settings",
        "ping",
        "empty data",
        "padded empty data",
        "priority",
        "unknown",
        "acknowledged settings",
        "answered ping",
        "goaway",
        "connection window",
        "stream window",
    ],
)
def test_floods(raw: bytes) -> None:
    limits = Limits(settings=FEW, pings=FEW, idle_frames=FEW, max_ping_strikes=10**9)
    connection = server(limits)
    connection.receive(request(1), 0)
    for _ in range(4):
        assert not failures(connection.receive(raw, 0))
    assert fault(connection, raw * 3) is ErrorCode.ENHANCE_YOUR_CALM


def test_window_updates_for_what_was_sent_are_no_flood() -> None:
    connection = server(Limits(idle_frames=FEW))
    connection.receive(request(1) + frames.window_update(1, 1) * 5, 0)
    connection.send_headers(1, encode(RESPONSE), end_stream=False)
    assert connection.send_data(1, memoryview(bytes(3 << 14)), end_stream=False) == 3 << 14
    assert not failures(connection.receive(frames.window_update(1, 1) * 500, 0))
    assert fault(connection, frames.window_update(1, 1)) is ErrorCode.ENHANCE_YOUR_CALM


def test_nor_are_those_for_what_was_sent_at_once() -> None:
    connection = server(Limits(idle_frames=FEW))
    updates = frames.window_update(0, 1) * 100
    for stream_id in range(1, 41, 2):
        connection.receive(request(stream_id, end=True), 0)
        if stream_id % 4 == 1:
            assert connection.send_answer(stream_id, encode(RESPONSE), b"12345", encode(TRAILERS))
        else:
            assert connection.send_small(stream_id, b"12345")
        assert not failures(connection.receive(updates, 0))
    asking = client(Limits(idle_frames=FEW))
    for _ in range(20):
        assert asking.send_request(encode(REQUEST), b"12345")
        assert not failures(asking.receive(updates, 0))


def test_keepalive_pings_too_often_without_calls() -> None:
    connection = server(Limits(min_ping_interval=10, max_ping_strikes=2))
    ping = frame(6, 0, 0, bytes(8))
    assert not failures([e for now in (0, 1, 2) for e in connection.receive(ping, now)])
    connection.receive(request(1), 0)
    connection.send_headers(1, encode(TRAILERS), end_stream=True)
    assert not failures([e for now in (3, 4, 5) for e in connection.receive(ping, now)])
    assert fault(connection, ping, 6) is ErrorCode.ENHANCE_YOUR_CALM


def test_a_flood_of_continuations() -> None:
    connection = server(Limits(max_continuations=3))
    raw = frame(1, 0, 1) + frame(9, 0, 1) * 3
    assert not failures(connection.receive(raw, 0))
    assert fault(connection, frame(9, 0, 1)) is ErrorCode.ENHANCE_YOUR_CALM


def test_a_header_block_without_end() -> None:
    connection = server(Limits(max_header_list=1 << 12))
    raw = frame(1, 0, 1, bytes(10000)) + frame(9, 0, 1, bytes(10000))
    assert fault(connection, raw) is ErrorCode.ENHANCE_YOUR_CALM


def test_streams_over_the_limit_are_refused_and_may_be_retried() -> None:
    connection = server(Limits(max_concurrent_streams=2))
    connection.receive(request(1) + request(3), 0)
    assert stream_fault(connection, request(5)) is ErrorCode.REFUSED_STREAM
    assert connection.open_streams == 2
    connection.receive(frames.rst_stream(1, 8), 0)
    assert connection.receive(request(7), 0) == [HeadersReceived(7, REQUEST, False)]


def test_a_header_list_over_the_limit_ends_its_stream() -> None:
    connection = server(Limits(max_header_list=1 << 12))
    raw = request(1, (*REQUEST, ("a", "x" * 5000)))
    assert stream_fault(connection, raw) is ErrorCode.ENHANCE_YOUR_CALM


def test_what_is_remembered_of_reset_streams_is_bounded() -> None:
    connection = server()
    for number in range(1, 2001, 2):
        connection.receive(request(number), 0)
        connection.reset(number, ErrorCode.CANCEL)
    assert len(connection._reset_here) <= 256
    assert connection.open_streams == 0


def test_a_client_may_give_up_more_calls_at_once_than_are_remembered() -> None:
    connection = client()
    for _ in range(1000):
        connection.reset(connection.open(encode(REQUEST), end_stream=True), ErrorCode.CANCEL)
    # What was on its way meanwhile.
    raw = b"".join(
        frame(1, 4, number, encode(RESPONSE)) + frame(0, 0, number, b"a") * 4
        for number in range(1, 2000, 2)
    )
    connection.take()
    assert connection.receive(raw, 0) == []
    assert {kind for kind, *_ in frames_in(sent(connection))} <= {FrameType.WINDOW_UPDATE}
