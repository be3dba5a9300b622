from __future__ import annotations

import contextlib
import gzip
import struct
import tracemalloc

import numpy as np
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.transport.messages import (
    GZIP,
    JOINED,
    MessageReader,
    check_encoding,
    frame,
)
from blazerpc_client.wire.large import LARGE

LIMIT = 1 << 16


def read(data: bytes, limit: int = LIMIT, encoding: str = "identity") -> list[bytes]:
    reader = MessageReader(limit, encoding)
    reader.feed(memoryview(data))
    assert not reader.partial
    return taken(reader)


def taken(reader: MessageReader) -> list[bytes]:
    """Take all messages that there are."""
    return [bytes(reader.take()) for _ in range(len(reader.messages))]


@given(
    messages=st.lists(st.binary(max_size=700), max_size=5),
    encoding=st.sampled_from(["identity", "gzip"]),
    cuts=st.lists(st.integers(1, 900), min_size=1),
)
def test_messages_come_out_as_they_went_in_however_they_are_cut(
    messages: list[bytes], encoding: str, cuts: list[int]
) -> None:
    wire = b"".join(piece for message in messages for piece in frame(message, LIMIT, encoding))
    reader = MessageReader(LIMIT, encoding)
    position = turn = 0
    while position < len(wire):
        step = cuts[turn % len(cuts)]
        reader.feed(memoryview(wire)[position : position + step])
        position += step
        turn += 1
    assert not reader.partial
    assert taken(reader) == messages


@given(st.binary(max_size=100), st.sampled_from(["identity", "gzip"]))
def test_any_bytes_are_messages_or_a_grpc_error(data: bytes, encoding: str) -> None:
    reader = MessageReader(50, encoding)
    with contextlib.suppress(GRPCError):
        reader.feed(memoryview(data))
    while reader.messages:
        with contextlib.suppress(GRPCError):
            assert len(reader.take()) <= 50


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
def test_the_limit_itself_is_allowed(size: int) -> None:
    assert read(b"".join(frame(bytes(size), LIMIT))) == [bytes(size)]


@pytest.mark.parametrize("length", [LIMIT + 1, 0xFFFFFFFF])
def test_a_message_beyond_the_limit_is_refused_by_its_prefix(length: int) -> None:
    with pytest.raises(GRPCError, match=f"{length} bytes came, {LIMIT} are allowed") as error:
        MessageReader(LIMIT).feed(memoryview(struct.pack(">BI", 0, length)))
    assert error.value.status is Status.RESOURCE_EXHAUSTED


def test_a_message_that_is_only_announced_takes_no_memory() -> None:
    readers = [MessageReader(1 << 31) for _ in range(100)]
    tracemalloc.start()
    try:
        for reader in readers:
            reader.feed(memoryview(struct.pack(">BI", 0, 1 << 30) + b"abc"))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert all(reader.partial for reader in readers)


def test_a_prefix_that_is_cut_is_partial() -> None:
    reader = MessageReader(LIMIT)
    reader.feed(memoryview(b"\0\0"))
    states = [reader.partial]
    reader.feed(memoryview(b"\0\0\0"))
    assert [*states, reader.partial] == [True, False]
    assert list(reader.messages) == [b""]


def test_what_decompresses_beyond_the_limit_is_refused_without_holding_it() -> None:
    bomb = gzip.compress(bytes(1 << 27))
    reader = MessageReader(1 << 20, GZIP)
    tracemalloc.start()
    try:
        reader.feed(memoryview(struct.pack(">BI", 1, len(bomb)) + bomb))
        with pytest.raises(GRPCError, match="more than 1048576 bytes") as error:
            reader.take()
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()
    assert error.value.status is Status.RESOURCE_EXHAUSTED


def test_messages_that_wait_are_not_decompressed() -> None:
    body = gzip.compress(bytes(1 << 20))
    reader = MessageReader(1 << 20, GZIP)
    tracemalloc.start()
    try:
        reader.feed(memoryview((struct.pack(">BI", 1, len(body)) + body) * 100))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(reader.messages) == 100
    assert reader.take() == bytes(1 << 20)


@pytest.mark.parametrize(
    "body", [b"", b"abc", gzip.compress(b"abc")[:-1], gzip.compress(b"abc") + b"?"]
)
def test_what_is_no_gzip_is_internal(body: bytes) -> None:
    with pytest.raises(GRPCError, match="no gzip") as error:
        read(struct.pack(">BI", 1, len(body)) + body, encoding=GZIP)
    assert error.value.status is Status.INTERNAL


def test_the_flag_without_an_encoding_is_internal() -> None:
    with pytest.raises(GRPCError, match="without a grpc-encoding") as error:
        read(b"\x01\0\0\0\0")
    assert error.value.status is Status.INTERNAL
    with pytest.raises(GRPCError, match="flag 2"):
        read(b"\x02\0\0\0\0")


def test_an_uncompressed_message_may_come_with_an_encoding() -> None:
    assert read(b"\0\0\0\0\x01a", encoding=GZIP) == [b"a"]


def test_an_unknown_encoding_is_unimplemented_with_those_that_are_known() -> None:
    check_encoding("gzip")
    check_encoding("identity")
    with pytest.raises(GRPCError, match="'br' is not supported; these are: identity, gzip") as e:
        check_encoding("br")
    assert e.value.status is Status.UNIMPLEMENTED


def test_only_what_gets_shorter_is_compressed() -> None:
    incompressible = bytes(range(256)) * 2
    assert frame(bytes(1000), LIMIT, GZIP)[0][0] == 1
    assert frame(bytes(10), LIMIT, GZIP)[0][0] == 0
    assert frame(incompressible[:300], LIMIT, GZIP)[0][0] in (0, 1)
    assert frame(bytes(1000), LIMIT)[0][0] == 0


def test_a_message_that_is_not_compressed_is_sent_without_a_copy() -> None:
    message = bytes(JOINED + 1)
    assert frame(message, LIMIT)[1] is message
    pieces = (b"a", message, b"b", bytes(JOINED), message)
    assert frame(pieces, LIMIT)[1::2] == [message, message]
    assert b"".join(frame(pieces, LIMIT))[5:] == b"".join(pieces)
    assert frame(pieces, LIMIT)[0][1:5] == struct.pack(">I", sum(map(len, pieces)))


def test_a_message_too_large_to_send_is_refused() -> None:
    with pytest.raises(GRPCError, match="11 bytes is to be sent, 10 are allowed") as error:
        frame(bytes(11), 10)
    assert error.value.status is Status.RESOURCE_EXHAUSTED


@given(st.lists(st.integers(1, 40_000), max_size=8), st.integers(LARGE - 1, 3 * LARGE))
def test_a_large_message_is_whole_wherever_it_is_cut(cuts: list[int], size: int) -> None:
    message = (bytes(range(256)) * (size // 256 + 1))[:size]
    data = memoryview(b"".join(frame(message, 1 << 20)) * 2)
    reader = MessageReader(1 << 20)
    for cut in cuts:
        reader.feed(data[:cut])
        data = data[cut:]
    reader.feed(data)
    assert list(reader.messages) == [message, message]


@pytest.mark.parametrize("shape", [[], [4], [300, 4], [1, 1, 1 << 40]])
@pytest.mark.parametrize("dtype", ["float", "double", "float16", "complex128"])
@pytest.mark.parametrize("number", [1, 3, 300])
def test_the_data_of_a_tensor_is_aligned(shape: list[int], dtype: str, number: int) -> None:
    def field(number: int, payload: bytes) -> bytes:
        return varint(number << 3 | 2) + varint(len(payload)) + payload

    tensor = field(1, b"".join(map(varint, shape))) + field(2, dtype.encode())
    message = field(2, b"hello") + field(number, tensor + field(3, bytes(LARGE)))
    reader = MessageReader(1 << 20)
    framed = memoryview(b"".join(frame(message, 1 << 20)))
    reader.feed(framed[:16_384])
    reader.feed(framed[16_384:])
    (received,) = reader.messages
    assert received == message
    assert np.frombuffer(received[-LARGE:], np.uint8).ctypes.data % 16 == 0


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)
