"""h2 as the peer, in both roles: it accepts all that we send, and we read all that it sends."""

from __future__ import annotations

from typing import Any

import h2.errors
import h2.events
import h2.settings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.events import (
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    StreamReset,
    TrailersReceived,
)
from blazerpc_client.transport.headers import Fields, encode
from blazerpc_client.transport.limits import Limits
from tests.unit.blazerpc_client.transport.peers import REQUEST, RESPONSE, TRAILERS, Pair, failures

EXTRA = st.lists(
    st.tuples(st.sampled_from(["a", "trace-bin", "authorization"]), st.text("xyz0", max_size=300)),
    max_size=3,
).map(tuple)

Call = tuple[Fields, bytes, Fields, bytes, Fields]
CALLS = st.lists(
    st.tuples(EXTRA, st.binary(max_size=70000), EXTRA, st.binary(max_size=70000), EXTRA),
    min_size=1,
    max_size=4,
)


def ours(events: list[Event], stream_id: int) -> tuple[list[Fields], bytes]:
    """Return the header blocks and the data of one stream, as our end heard them."""
    blocks: list[Fields] = []
    body = b""
    for event in events:
        if isinstance(event, HeadersReceived | TrailersReceived) and event.stream_id == stream_id:
            blocks.append(event.fields)
        elif isinstance(event, DataReceived) and event.stream_id == stream_id:
            body += event.data
    return blocks, body


def theirs(events: list[h2.events.Event], stream_id: int) -> tuple[list[Fields], bytes]:
    """Return the same, as h2 heard it."""
    blocks: list[Fields] = []
    body = b""
    for event in events:
        if getattr(event, "stream_id", None) != stream_id:
            continue
        if isinstance(
            event,
            h2.events.RequestReceived | h2.events.ResponseReceived | h2.events.TrailersReceived,
        ):
            fields: Any = event.headers
            blocks.append(tuple((name, value) for name, value in fields))
        elif isinstance(event, h2.events.DataReceived):
            body += event.data
    return blocks, body


class Ends:
    """Calls over a pair, whichever end is the client; windows are given back all the time."""

    def __init__(self, pair: Pair, *, client: bool) -> None:
        self.pair = pair
        self.client = client
        self.streams: list[int] = []

    def send(self, by_us: bool, stream_id: int, body: bytes, *, end: bool) -> None:
        view = memoryview(body)
        while True:
            if by_us:
                sent = self.pair.ours.send_data(stream_id, view, end_stream=end)
            else:
                room = self.pair.theirs.local_flow_control_window(stream_id)
                sent = min(len(view), room, self.pair.theirs.max_outbound_frame_size)
                last = end and sent == len(view)
                self.pair.theirs.send_data(stream_id, view[:sent].tobytes(), end_stream=last)
            view = view[sent:]
            self.exchange()
            if not view:
                return

    def exchange(self) -> None:
        heard_by_us, heard_by_them = len(self.pair.our_events), len(self.pair.their_events)
        self.pair.exchange()
        for event in self.pair.our_events[heard_by_us:]:
            if isinstance(event, DataReceived):
                self.pair.ours.release(event.stream_id, len(event.data))
        for heard in self.pair.their_events[heard_by_them:]:
            if isinstance(heard, h2.events.DataReceived):
                self.pair.theirs.acknowledge_received_data(
                    heard.flow_controlled_length, heard.stream_id
                )
        self.pair.exchange()

    def call(self, call: Call) -> None:
        asked, request, answered, response, ended = call
        if self.client:
            stream_id = self.pair.ours.open(encode((*REQUEST, *asked)), end_stream=False)
        else:
            stream_id = self.pair.theirs.get_next_available_stream_id()
            self.pair.theirs.send_headers(stream_id, [*REQUEST, *asked])
        self.streams.append(stream_id)
        self.send(self.client, stream_id, request, end=True)
        answer, last = (*RESPONSE, *answered), (*TRAILERS, *ended)
        if self.client:
            self.pair.theirs.send_headers(stream_id, answer)
            self.send(False, stream_id, response, end=False)
            self.pair.theirs.send_headers(stream_id, last, end_stream=True)
        else:
            self.pair.ours.send_headers(stream_id, encode(answer), end_stream=False)
            self.send(True, stream_id, response, end=False)
            self.pair.ours.send_headers(stream_id, encode(last), end_stream=True)
        self.exchange()


@given(calls=CALLS, client=st.booleans(), step=st.integers(1, 3000), small=st.booleans())
def test_calls_arrive_as_they_were_sent(
    calls: list[Call], client: bool, step: int, small: bool
) -> None:
    limits = Limits(stream_window=1000) if small else Limits()
    pair = Pair(client=client, limits=limits, step=step)
    ends = Ends(pair, client=client)
    for call in calls:
        ends.call(call)
    assert not failures(pair.our_events)
    for stream_id, (asked, request, answered, response, ended) in zip(
        ends.streams, calls, strict=True
    ):
        requests = [(*REQUEST, *asked)], request
        responses = [(*RESPONSE, *answered), (*TRAILERS, *ended)], response
        assert ours(pair.our_events, stream_id) == (responses if client else requests)
        assert theirs(pair.their_events, stream_id) == (requests if client else responses)
    assert pair.ours.open_streams == 0


@pytest.mark.parametrize("client", [True, False])
def test_resets_pings_and_goodbyes_are_understood(client: bool) -> None:
    pair = Pair(client=client)
    first = []
    for _ in range(2):
        if client:
            first.append(pair.ours.open(encode(REQUEST), end_stream=False))
        else:
            first.append(pair.theirs.get_next_available_stream_id())
            pair.theirs.send_headers(first[-1], REQUEST)
        pair.exchange()
    pair.ours.reset(first[0], ErrorCode.CANCEL)
    pair.theirs.reset_stream(first[1], h2.errors.ErrorCodes.REFUSED_STREAM)
    pair.ours.ping(b"12345678")
    pair.theirs.ping(b"87654321")
    pair.exchange()
    reset = [event for event in pair.their_events if isinstance(event, h2.events.StreamReset)]
    assert [(event.stream_id, event.error_code) for event in reset] == [(first[0], 8)]
    (heard,) = [event for event in pair.our_events if isinstance(event, StreamReset)]
    assert (heard.stream_id, heard.code, heard.unprocessed) == (first[1], 7, True)
    assert PingAcked(b"12345678") in pair.our_events
    assert any(isinstance(event, h2.events.PingAckReceived) for event in pair.their_events)
    pair.ours.announce_goodbye()
    pair.ours.goodbye(ErrorCode.NO_ERROR, b"bye")
    pair.exchange()
    said = [e for e in pair.their_events if isinstance(e, h2.events.ConnectionTerminated)]
    assert [(e.last_stream_id, e.error_code) for e in said] == [
        (0x7FFFFFFF, 0),
        (0 if client else first[1], 0),
    ]
    pair = Pair(client=client)
    pair.theirs.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, b"calm")
    pair.exchange()
    assert GoAwayReceived(11, b"calm") in pair.our_events


@pytest.mark.parametrize("client", [True, False])
@pytest.mark.parametrize("table", [0, 100, 4096, 65536])
def test_settings_of_h2_are_kept(client: bool, table: int) -> None:
    pair = Pair(client=client)
    pair.theirs.update_settings(
        {
            h2.settings.SettingCodes.HEADER_TABLE_SIZE: table,
            h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10,
            h2.settings.SettingCodes.MAX_FRAME_SIZE: 20000,
        }
    )
    pair.exchange()
    assert pair.ours.peer.header_table_size == table
    ends = Ends(pair, client=client)
    for _ in range(3):
        ends.call(((), b"request", (), b"response", ()))
    assert not failures(pair.our_events)


@given(EXTRA, st.binary(max_size=16 << 10), EXTRA, st.binary(max_size=16 << 10), EXTRA)
def test_a_whole_request_and_a_whole_answer(
    asked: Fields, request: bytes, answered: Fields, response: bytes, ended: Fields
) -> None:
    client, server = Pair(client=True), Pair(client=False)
    assert client.ours.send_request(encode((*REQUEST, *asked)), request) == 1
    client.exchange()
    assert theirs(client.their_events, 1) == ([(*REQUEST, *asked)], request)
    assert any(isinstance(event, h2.events.StreamEnded) for event in client.their_events)
    server.theirs.send_headers(1, REQUEST, end_stream=True)
    server.exchange()
    blocks = encode((*RESPONSE, *answered)), encode((*TRAILERS, *ended))
    assert server.ours.send_answer(1, blocks[0], response, blocks[1])
    server.exchange()
    assert theirs(server.their_events, 1) == (
        [(*RESPONSE, *answered), (*TRAILERS, *ended)],
        response,
    )
    assert any(isinstance(event, h2.events.StreamEnded) for event in server.their_events)
    assert not failures([*client.our_events, *server.our_events])
