from __future__ import annotations

from typing import Any

import pytest
from hpack.hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.transport.errors import ConnectionFault, ErrorCode, StreamFault
from blazerpc_client.transport.headers import (
    BlockDecoder,
    Fields,
    check_request,
    check_response,
    check_trailers,
    encode,
)
from tests.unit.blazerpc_client.transport.peers import REQUEST, RESPONSE, TRAILERS

# hypothesis takes texts from the code under test too: these names have rules of their own there.
RULED = {
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
}
NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=20).filter(
    lambda name: name not in RULED
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=200).map(str.strip)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=10).map(tuple)


def read_by_hpack(decoder: Decoder, block: bytes) -> Fields:
    fields: Any = decoder.decode(block)
    return tuple((name, value) for name, value in fields)


def anything(fields: Fields) -> None:
    """Take any fields."""


@given(FIELDS)
def test_what_is_encoded_hpack_reads_and_no_table_changes(fields: Fields) -> None:
    decoder = Decoder()
    block = encode((*REQUEST, *fields))
    assert read_by_hpack(decoder, block) == (*REQUEST, *fields)
    assert not decoder.header_table.dynamic_entries


@given(st.lists(FIELDS, max_size=8), st.booleans())
def test_what_hpack_encodes_is_read_the_same_again_and_again(
    blocks: list[Fields], huffman: bool
) -> None:
    encoder, decoder = Encoder(), BlockDecoder(1 << 20)
    for fields in [*blocks, *blocks, *reversed(blocks)]:
        block = encoder.encode(fields, huffman=huffman)
        assert decoder.decode(block, check_trailers).fields == fields


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_a_block_or_a_fault(blocks: list[bytes]) -> None:
    decoder = BlockDecoder(1 << 12)
    for block in blocks:
        try:
            decoder.decode(block, check_trailers)
        except ConnectionFault:
            return  # the table is lost, and with it the connection
        except StreamFault:
            pass


def test_a_block_is_looked_up_until_the_table_changes() -> None:
    encoder, decoder = Encoder(), BlockDecoder(1 << 14)
    first = encoder.encode([("a", "1")])
    decoder.decode(first, anything)
    indexed = encoder.encode([("a", "1")])
    assert decoder.decode(indexed, anything) is decoder.decode(indexed, anything)
    decoder.decode(encoder.encode([("b", "2")]), anything)
    # The same bytes name another field now.
    assert decoder.decode(indexed, anything).fields == (("b", "2"),)


def test_a_block_is_not_looked_up_after_a_malformed_one_changed_the_table() -> None:
    encoder, decoder = Encoder(), BlockDecoder(1 << 14)
    decoder.decode(encoder.encode([("a", "1")]), anything)
    indexed = encoder.encode([("a", "1")])
    decoder.decode(indexed, anything)
    with pytest.raises(StreamFault):
        decoder.decode(encoder.encode([("B", "2")]), anything)
    with pytest.raises(StreamFault):
        decoder.decode(indexed, anything)


def test_a_block_is_not_looked_up_after_the_table_was_emptied() -> None:
    decoder = BlockDecoder(1 << 14)
    decoder.decode(b"\x40\x01a\x011", anything)
    assert decoder.decode(b"\xbe", anything).fields == (("a", "1"),)
    # To 0 and back to 4096.
    assert decoder.decode(b"\x20\x3f\xe1\x1f", anything).fields == ()
    with pytest.raises(ConnectionFault, match="COMPRESSION_ERROR"):
        decoder.decode(b"\xbe", anything)


def test_a_peer_is_told_no_address_in_memory() -> None:
    with pytest.raises(ConnectionFault) as error:
        BlockDecoder(1 << 14).decode(b"\xff" * 20, anything)
    assert "0x" not in error.value.reason


def test_a_block_that_changes_the_table_is_read_each_time() -> None:
    decoder = BlockDecoder(1 << 14)
    for _ in range(3):
        assert decoder.decode(b"\x40\x01a\x011", anything).fields == (("a", "1"),)
    assert decoder.decode(b"\xc0", anything).fields == (("a", "1"),)


def test_a_block_passed_as_a_response_is_not_passed_as_a_request() -> None:
    decoder = BlockDecoder(1 << 14)
    block = encode(RESPONSE)
    decoder.decode(block, check_response)
    with pytest.raises(StreamFault):
        decoder.decode(block, check_request)


def test_what_is_remembered_is_bounded() -> None:
    decoder = BlockDecoder(1 << 14)
    for number in range(1000):
        decoder.decode(encode([("a", str(number))]), anything)
    assert len(decoder._known) <= 64


def test_a_list_that_is_too_large_ends_its_stream_and_the_table_stays_right() -> None:
    encoder, decoder = Encoder(), BlockDecoder(1 << 10)
    with pytest.raises(StreamFault) as error:
        decoder.decode(encoder.encode([("a", "1"), ("b", "x" * 1000)]), anything)
    assert error.value.code is ErrorCode.ENHANCE_YOUR_CALM
    assert decoder.decode(encoder.encode([("a", "1")]), anything).fields == (("a", "1"),)


def test_a_bomb_ends_the_connection() -> None:
    decoder = BlockDecoder(1 << 14)
    decoder.decode(Encoder().encode([("a", "x" * 4000)], huffman=False), anything)
    with pytest.raises(ConnectionFault) as error:
        decoder.decode(b"\xbe" * 16000, anything)
    assert error.value.code is ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    "fields",
    [
        (("A", "b"),),
        (("a b", "c"),),
        (("", "c"),),
        (("a", "b\n"),),
        (("a", "b\0c"),),
        (("a", " b"),),
        (("a", "b "),),
        (("a", "é"),),
        (("content-length", "x"),),
        (("content-length", "-1"),),
        (("content-length", "1"), ("content-length", "2")),
        (("connection", "close"),),
        (("keep-alive", "1"),),
        (("transfer-encoding", "chunked"),),
        (("upgrade", "h2c"),),
        (("te", "gzip"),),
        ((":path", "/"),),
    ],
)
def test_fields_that_no_message_may_have(fields: Fields) -> None:
    block = Encoder().encode(fields)
    with pytest.raises(StreamFault) as error:
        BlockDecoder(1 << 14).decode(block, check_trailers)
    assert error.value.code is ErrorCode.PROTOCOL_ERROR


PLAIN = dict(REQUEST[:4])


@pytest.mark.parametrize(
    "fields",
    [
        (),
        REQUEST[1:],
        REQUEST[:1] + REQUEST[2:],
        REQUEST[:2] + REQUEST[3:],
        (*REQUEST[:2], (":path", ""), *REQUEST[3:]),
        (*REQUEST, (":path", "/")),
        (REQUEST[0], *REQUEST),
        (*REQUEST[:4], (":status", "200")),
        (*REQUEST[:4], (":protocol", "websocket")),
        (("a", "b"), *REQUEST),
    ],
)
def test_requests_that_are_malformed(fields: Fields) -> None:
    with pytest.raises(StreamFault):
        check_request(fields)


def test_a_request_needs_no_authority() -> None:
    check_request(REQUEST[:3])


@pytest.mark.parametrize("status", ["", "20", "2000", "2x0", "000", "101"])
def test_responses_that_are_malformed(status: str) -> None:
    with pytest.raises(StreamFault):
        check_response(((":status", status),))
    with pytest.raises(StreamFault):
        check_response((("a", "b"),))
    with pytest.raises(StreamFault):
        check_response((*RESPONSE, (":path", "/")))


def test_what_may_be_a_secret_is_kept_out_of_every_table() -> None:
    decoder = Decoder()
    (field,) = decoder.decode(encode([("authorization", "secret")]))
    assert not field.indexable
    (field,) = decoder.decode(encode(TRAILERS))
    assert field.indexable


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 254, 255, 256, 16383, 20000])
def test_lengths_around_the_prefixes_of_integers(size: int) -> None:
    block = encode([("n" * max(1, size), "v" * size)])
    assert read_by_hpack(Decoder(), block) == (("n" * max(1, size), "v" * size),)
