"""A connection's preface, data, windows and goodbyes, against frames made by hand."""

from __future__ import annotations

import pytest
from hpack.hpack import Encoder

from blazerpc_client.transport import frames
from blazerpc_client.transport.connection import Connection
from blazerpc_client.transport.errors import (
    ConnectionClosed,
    ErrorCode,
    StreamClosed,
    TooManyStreams,
)
from blazerpc_client.transport.events import (
    DataReceived,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    TrailersReceived,
    WindowOpened,
)
from blazerpc_client.transport.frames import ACK, END_HEADERS, END_STREAM, PADDED, FrameType
from blazerpc_client.transport.headers import encode
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.settings import Setting
from tests.unit.blazerpc_client.transport.peers import (
    LONG,
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
    resets,
    sent,
    server,
    stream_fault,
)

# The preface (RFC 9113, section 3.4).


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"PRI * HTTP/1",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\n",
        b"\0",
    ],
)
def test_what_is_no_preface_is_refused_at_its_first_wrong_byte(raw: bytes) -> None:
    connection = Connection(client=False)
    connection.take()
    assert fault(connection, raw) is ErrorCode.PROTOCOL_ERROR


def test_a_preface_may_come_byte_by_byte() -> None:
    connection = Connection(client=False)
    raw = frames.PREFACE + frames.settings({}) + request(1)
    events = [event for byte in raw for event in connection.receive(bytes([byte]), 0)]
    assert events[-1] == HeadersReceived(1, REQUEST, False)


@pytest.mark.parametrize("first", [frame(FrameType.PING, 0, 0, bytes(8)), frames.SETTINGS_ACK])
def test_the_first_frame_is_settings(first: bytes) -> None:
    connection = Connection(client=False)
    connection.take()
    assert fault(connection, frames.PREFACE + first) is ErrorCode.PROTOCOL_ERROR


# Large frames, padding, and what is unknown.


def test_data_is_passed_on_as_it_comes() -> None:
    connection = server()
    connection.receive(request(1), 0)
    raw = data(1, b"abcdef", end=True)
    events = [e for i in range(0, len(raw), 3) for e in connection.receive(raw[i : i + 3], 0)]
    assert events == [
        DataReceived(1, memoryview(b"abc"), False),
        DataReceived(1, memoryview(b"def"), True),
    ]


def test_data_is_a_view_of_what_came() -> None:
    connection = server()
    connection.receive(request(1), 0)
    raw = data(1, b"abc")
    (event,) = connection.receive(raw, 0)
    assert isinstance(event, DataReceived)
    assert event.data.obj is raw


@pytest.mark.parametrize("step", [1, 2, 9, 10, 11, 12, 100])
def test_padding_is_dropped_and_its_window_given_back(step: int) -> None:
    limits = Limits(stream_window=1 << 16, connection_window=1 << 16)
    connection = server(limits)
    raw = frame(1, PADDED | END_HEADERS, 1, b"\x03" + encode(REQUEST) + bytes(3))
    for number in range(1000):
        last = number == 999
        raw += frame(0, PADDED | (END_STREAM if last else 0), 1, b"\xffab" + bytes(255))
    events = []
    for begin in range(0, len(raw), step):
        for event in connection.receive(raw[begin : begin + step], 0):
            events.append(event)
            if isinstance(event, DataReceived):
                connection.release(1, len(event.data))
    assert not failures(events)
    got = [event for event in events if isinstance(event, DataReceived)]
    assert b"".join(event.data for event in got) == b"ab" * 1000
    assert [event.end_stream for event in got] == [False] * (len(got) - 1) + [True]


def test_unknown_frames_are_dropped_without_being_held() -> None:
    connection = server()
    unknown = frame(0xBE, 0xEF, 7, bytes(1 << 20))
    for begin in range(0, len(unknown), 1000):
        assert connection.receive(unknown[begin : begin + 1000], 0) == []
        assert len(connection._held) < 1000
    assert connection.receive(request(1), 0) == [HeadersReceived(1, REQUEST, False)]


def test_unknown_settings_are_ignored() -> None:
    assert not failures(server().receive(frames.settings({0xBEEF: 7}), 0))


def test_a_header_block_in_pieces() -> None:
    block = encode(REQUEST)
    pieces = [frame(1, 0, 1, block[:10]), frame(9, 0, 1, block[10:20])]
    last = frame(9, END_HEADERS, 1, block[20:])
    assert server().receive(b"".join([*pieces, last]), 0) == [HeadersReceived(1, REQUEST, False)]
    for between in (
        frame(6, 0, 0, bytes(8)),
        data(1, b""),
        request(3),
        frame(9, 4, 3),
        frame(99, 0, 0),
    ):
        assert fault(server(), pieces[0] + between) is ErrorCode.PROTOCOL_ERROR


def test_interim_responses_are_read_over() -> None:
    connection = client()
    connection.open(encode(REQUEST), end_stream=True)
    events = connection.receive(request(1, ((":status", "103"),)) + request(1, RESPONSE), 0)
    assert events == [HeadersReceived(1, RESPONSE, False)]


# Windows.


def test_what_is_beyond_a_window_is_refused() -> None:
    limits = Limits(stream_window=1 << 16, connection_window=1 << 17)
    connection = server(limits)
    connection.receive(frames.SETTINGS_ACK + request(1) + data(1, bytes(1 << 16)), 0)
    assert stream_fault(connection, data(1, b"a")) is ErrorCode.FLOW_CONTROL_ERROR
    connection.receive(request(3), 0)
    assert fault(connection, data(3, bytes(1 << 16))) is ErrorCode.FLOW_CONTROL_ERROR


def test_the_window_of_data_nobody_reads_is_given_back() -> None:
    connection = server(Limits(connection_window=1 << 16))
    connection.receive(request(1), 0)
    connection.reset(1, ErrorCode.CANCEL)
    for _ in range(100):
        assert connection.receive(data(1, bytes(1 << 13)), 0) == []


def test_a_small_window_holds_once_the_peer_knows_it() -> None:
    connection = server(Limits(stream_window=10))
    assert not resets(connection.receive(request(1) + data(1, bytes(60000)), 0))
    assert not resets(connection.receive(frames.SETTINGS_ACK + request(3) + data(3, bytes(10)), 0))
    assert stream_fault(connection, data(3, b"a")) is ErrorCode.FLOW_CONTROL_ERROR


def test_data_is_sent_in_views_as_far_as_the_windows_go() -> None:
    connection = server(settings={Setting.INITIAL_WINDOW_SIZE: 40000})
    connection.receive(request(1) + request(3), 0)
    message = memoryview(bytes(100000))
    assert connection.send_data(1, message, end_stream=True) == 40000
    heads = connection.take()[::2]
    assert [len(head) for head in heads] == [9, 9, 9]
    assert connection.room(1) == 0
    assert connection.room(3) == 65535 - 40000
    events = connection.receive(frames.settings({Setting.INITIAL_WINDOW_SIZE: 10}), 0)
    assert WindowOpened(0) not in events
    assert connection.room(1) == 0
    assert connection.receive(frames.window_update(1, 40000), 0) == [WindowOpened(1)]
    assert connection.room(1) == 10
    assert connection.send_data(1, message[:10], end_stream=True) == 10
    with pytest.raises(StreamClosed):
        connection.send_data(1, message, end_stream=True)


def test_pieces_are_views_of_the_message() -> None:
    connection = server()
    connection.receive(request(1), 0)
    message = bytes(50000)
    connection.send_data(1, memoryview(message), end_stream=False)
    views = [piece for piece in connection.take() if isinstance(piece, memoryview)]
    assert [len(view) for view in views] == [16384, 16384, 16384, 848]
    assert all(view.obj is message for view in views)


def test_an_initial_window_that_makes_one_too_large_ends_the_connection() -> None:
    connection = server()
    connection.receive(request(1) + frames.window_update(1, 0x7FFFFFFF - 65535), 0)
    too_large = frames.settings({Setting.INITIAL_WINDOW_SIZE: 65536})
    assert fault(connection, too_large) is ErrorCode.FLOW_CONTROL_ERROR


# Sending.


def test_a_closed_stream_takes_nothing() -> None:
    connection = server()
    connection.receive(request(1), 0)
    connection.send_headers(1, encode(RESPONSE), end_stream=False)
    connection.send_headers(1, encode(TRAILERS), end_stream=True)
    for stream_id in (1, 7):
        with pytest.raises(StreamClosed):
            connection.send_headers(stream_id, encode(TRAILERS), end_stream=True)
        with pytest.raises(StreamClosed):
            connection.send_data(stream_id, memoryview(b""), end_stream=True)
    assert connection.open_streams == 1  # the client has not ended it
    connection.reset(1, ErrorCode.CANCEL)
    connection.reset(1, ErrorCode.CANCEL)
    assert connection.open_streams == 0


def test_a_large_block_is_sent_in_continuations() -> None:
    connection, peer = client(), server(Limits(max_header_list=1 << 17))
    fields = (*REQUEST, ("long", "x" * 40000))
    connection.open(encode(fields), end_stream=True)
    assert peer.receive(sent(connection), 0) == [HeadersReceived(1, fields, True)]


def test_a_client_opens_no_more_streams_than_it_may() -> None:
    connection = client(settings={Setting.MAX_CONCURRENT_STREAMS: 1})
    assert connection.open(encode(REQUEST), end_stream=True) == 1
    with pytest.raises(TooManyStreams):
        connection.open(encode(REQUEST), end_stream=True)
    connection.receive(request(1, RESPONSE, end=True), 0)
    assert connection.open(encode(REQUEST), end_stream=True) == 3


def test_a_peer_that_wants_a_smaller_table_is_told_that_ours_is_empty() -> None:
    connection = server(settings={Setting.HEADER_TABLE_SIZE: 0})
    connection.receive(request(1), 0)
    connection.send_headers(1, encode(RESPONSE), end_stream=False)
    connection.send_headers(1, encode(TRAILERS), end_stream=True)
    blocks = [payload for _, _, _, payload in frames_in(sent(connection))]
    assert blocks == [b"\x20" + encode(RESPONSE), encode(TRAILERS)]


def test_a_whole_request_is_sent_only_when_all_of_it_can_go() -> None:
    block = encode(REQUEST)
    small = client(settings={Setting.MAX_CONCURRENT_STREAMS: 1, Setting.INITIAL_WINDOW_SIZE: 3})
    assert small.send_request(block, b"1234") is None
    assert small.send_request(block, b"123") == 1
    assert small.send_request(block, b"") is None  # a second stream
    kinds = [(kind, flags, stream) for kind, flags, stream, _ in frames_in(sent(small))]
    assert kinds == [
        (FrameType.HEADERS, END_HEADERS, 1),
        (FrameType.DATA, END_STREAM, 1),
    ]
    with pytest.raises(StreamClosed):
        small.send_headers(1, encode(TRAILERS), end_stream=True)  # this side has ended
    assert client().send_request(block, bytes(16 << 10 | 1)) is None  # more than one frame
    assert client().send_request(block * 300, b"") is None
    # Its table has to be told of in the block.
    assert client(settings={Setting.HEADER_TABLE_SIZE: 0}).send_request(block, b"") is None
    leaving = client()
    leaving.receive(frame(FrameType.GOAWAY, 0, 0, bytes(8)), 0)
    assert leaving.send_request(block, b"") is None


# GOAWAY (RFC 9113, section 6.8).


def test_a_drain_takes_what_was_on_its_way_and_then_nothing() -> None:
    connection = server()
    connection.receive(request(1), 0)
    connection.announce_goodbye()
    assert connection.receive(request(3), 0) == [HeadersReceived(3, REQUEST, False)]
    connection.goodbye()
    connection.goodbye()
    goaways = [payload for kind, _, _, payload in frames_in(sent(connection)) if kind == 7]
    assert [LONG.unpack_from(payload)[0] for payload in goaways] == [0x7FFFFFFF, 3]
    # Late ones are neither answered nor a fault; the table and the windows stay right.
    table = Encoder()
    late = frame(1, END_HEADERS, 5, table.encode(REQUEST))
    assert connection.receive(late + data(5, bytes(100)) + frame(3, 0, 5, bytes(4)), 0) == []
    assert not connection.pending
    assert connection.open_streams == 2
    connection.send_headers(1, encode(TRAILERS), end_stream=True)


def test_streams_a_server_did_not_process_are_told_as_such() -> None:
    connection = client()
    for _ in range(3):
        connection.open(encode(REQUEST), end_stream=True)
    events = connection.receive(frames.goaway(1, 0, b"bye"), 0)
    lost = resets(events)
    assert [event.stream_id for event in lost] == [3, 5]
    assert all(event.unprocessed and event.by_peer for event in lost)
    assert events[-1] == GoAwayReceived(0, b"bye")
    with pytest.raises(ConnectionClosed):
        connection.open(encode(REQUEST), end_stream=True)
    # The one that was processed goes on.
    events = connection.receive(request(1, RESPONSE) + request(1, TRAILERS, end=True), 0)
    assert events == [HeadersReceived(1, RESPONSE, False), TrailersReceived(1, TRAILERS)]


def test_a_refused_stream_was_not_processed() -> None:
    connection = client()
    connection.open(encode(REQUEST), end_stream=True)
    (event,) = resets(connection.receive(frames.rst_stream(1, ErrorCode.REFUSED_STREAM), 0))
    assert event.unprocessed


# Pings.


def test_a_ping_is_answered_and_an_answer_told() -> None:
    connection = server()
    assert connection.receive(frame(6, 0, 0, b"12345678"), 0) == []
    assert frames_in(sent(connection)) == [(6, ACK, 0, b"12345678")]
    assert connection.receive(frame(6, ACK, 0, b"12345678"), 0) == [PingAcked(b"12345678")]
