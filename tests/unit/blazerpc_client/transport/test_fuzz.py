"""Bytes that nobody checked: the core answers with the errors it names, and never hangs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from blazerpc_client.transport import frames
from blazerpc_client.transport.connection import Connection
from blazerpc_client.transport.events import ConnectionFailed
from blazerpc_client.transport.headers import encode
from tests.unit.blazerpc_client.transport.peers import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    connected,
    data,
    drive,
    frame,
    frames_in,
    joined,
    request,
    sent,
)

STREAMS = st.sampled_from([0, 1, 2, 3, 5, 7, 0x7FFFFFFF])

#: Any frame, most of them of a known type and of a size that the type has.
ANY_FRAME = st.builds(
    frame,
    st.one_of(st.integers(0, 9), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 1, 4, 5, 8, 12, 0x20]), st.integers(0, 255)),
    STREAMS,
    st.one_of(
        st.binary(max_size=40),
        st.binary(min_size=4, max_size=4),
        st.binary(min_size=8, max_size=8),
        st.sampled_from([encode(REQUEST), encode(RESPONSE), encode(TRAILERS)]),
    ),
)
LEGAL = [
    request(1),
    data(1, b"abc"),
    data(1, b"", end=True),
    request(3, end=True),
    request(1, RESPONSE),
    request(1, TRAILERS, end=True),
    frames.window_update(0, 100),
    frames.window_update(1, 100),
    frames.rst_stream(3, 8),
    frames.settings({4: 100}),
    frames.SETTINGS_ACK,
    frame(6, 0, 0, bytes(8)),
    frames.goaway(1, 0),
]
TRAFFIC = st.lists(st.one_of(st.sampled_from(LEGAL), ANY_FRAME), max_size=20).map(b"".join)


@given(raw=TRAFFIC, client=st.booleans(), step=st.integers(1, 60))
@settings(max_examples=500)
def test_any_frames_cut_anywhere_mean_the_same(raw: bytes, client: bool, step: int) -> None:
    whole, cut = connected(client), connected(client)
    heard = drive(whole, raw, max(1, len(raw)))
    assert joined(drive(cut, raw, step)) == joined(heard)
    answer = [item for item in frames_in(sent(whole)) if item[0] != 6]
    assert [item for item in frames_in(sent(cut)) if item[0] != 6] == answer
    failed = [event for event in heard if isinstance(event, ConnectionFailed)]
    assert len(failed) <= 1
    assert [item[0] for item in answer].count(7) == len(failed)


@given(
    raw=st.lists(st.sampled_from(LEGAL), max_size=12).map(b"".join),
    places=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=4),
    client=st.booleans(),
)
@settings(max_examples=500)
def test_corrupted_traffic_is_survived(
    raw: bytes, places: list[tuple[int, int]], client: bool
) -> None:
    corrupted = bytearray(raw)
    for place, value in places:
        if corrupted:
            corrupted[place % len(corrupted)] = value
    connection = connected(client)
    drive(connection, bytes(corrupted), 1 << 16)
    frames_in(sent(connection))


@given(raw=st.binary(max_size=300), client=st.booleans())
def test_any_bytes_are_survived(raw: bytes, client: bool) -> None:
    connection = Connection(client=client)
    drive(connection, raw, 7)
    drive(connected(client), raw, 7)
