"""Clients that flood a server, or break the rules: each gets the right error, and nothing else.

All the while another connection is served; afterwards memory, open files and tasks are as before.
"""

from __future__ import annotations

import asyncio
import struct

import pytest

from blazerpc_client.transport import frames
from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.frames import END_HEADERS, PADDED, FrameType
from tests.conftest import ServerProcess
from tests.integration.attackers import (
    HELLO,
    attacker,
    data,
    first_field,
    frame,
    harmless,
    message,
    request,
    told,
)

# Floods: each is more than the burst that its limit allows.

MANY = 3000
IDS = range(1, 2 * MANY, 2)
EMPTY_BLOCK = frame(FrameType.HEADERS, 0, 1)

#: A field of 4000 bytes is put into the table, and named again and again.
BOMB = b"\x40\x01a\x7f\xa1\x1e" + b"b" * 4000 + b"\xbe" * 10_000

FLOODS = {
    "rapid reset": b"".join(request(n, "Wait") + frames.rst_stream(n, 8) for n in IDS),
    "rapid reset of whole requests": b"".join(
        request(n, "Wait") + data(n, message(b""), end=True) + frames.rst_stream(n, 8) for n in IDS
    ),
    "resets that the server is made to send": b"".join(
        request(n, "Wait") + frames.window_update(n, 0) for n in IDS
    ),
    "resets for data after the end": b"".join(
        request(n, "Wait", end=True) + data(n, b"a") for n in IDS
    ),
    "resets for malformed requests": b"".join(request(n, "Wait", ("te", "gzip")) for n in IDS),
    "streams beyond the limit": b"".join(request(n, "Wait") for n in IDS),
    "empty continuations": EMPTY_BLOCK + frame(FrameType.CONTINUATION, 0, 1) * MANY,
    "continuations": EMPTY_BLOCK + frame(FrameType.CONTINUATION, 0, 1, bytes(16000)) * 20,
    "a header bomb": frame(FrameType.HEADERS, END_HEADERS, 1, BOMB),
    "settings": frames.settings({4: 70_000}) * MANY,
    "acknowledged settings": frames.SETTINGS_ACK * MANY,
    "pings": frames.ping(bytes(8)) * MANY,
    "answered pings": frames.ping(bytes(8), ack=True) * MANY,
    "empty data": request(1, "Wait") + data(1, b"") * MANY,
    "padded empty data": request(1, "Wait") + frame(0, PADDED, 1, b"\x01\0") * MANY,
    "priorities": frame(FrameType.PRIORITY, 0, 1, bytes(5)) * MANY,
    "window updates of the connection": frames.window_update(0, 1) * MANY,
    "window updates of a stream": request(1, "Wait") + frames.window_update(1, 1) * MANY,
    "unknown frames": frame(0x77, 0, 0) * MANY,
    "goodbyes": request(1, "Wait") + frames.goaway(0, 0) * MANY,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_flood_is_told_to_calm_down(wire: ServerProcess, flood: bytes) -> None:
    async with harmless(wire):
        why = await asyncio.to_thread(told, wire, HELLO + flood)
        assert why is ErrorCode.ENHANCE_YOUR_CALM


# What is against the rules of HTTP/2.

FAULTS = {
    "HTTP/1.1": (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", ErrorCode.PROTOCOL_ERROR),
    "TLS": (bytes.fromhex("160301020001000100 0303".replace(" ", "")), ErrorCode.PROTOCOL_ERROR),
    "zeros": (bytes(100_000), ErrorCode.PROTOCOL_ERROR),
    "another preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r" * 9, ErrorCode.PROTOCOL_ERROR),
    "no settings": (frames.PREFACE + frames.ping(bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a frame too large": (HELLO + frames.head(2 << 20, 0, 0, 1), ErrorCode.FRAME_SIZE_ERROR),
    "headers too large": (HELLO + frames.head(1 << 19, 1, 4, 1), ErrorCode.ENHANCE_YOUR_CALM),
    "settings of a wrong size": (HELLO + frame(4, 0, 0, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    "a frame size of 1": (HELLO + frames.settings({5: 1}), ErrorCode.PROTOCOL_ERROR),
    "a window of 2**31": (HELLO + frames.settings({4: 1 << 31}), ErrorCode.FLOW_CONTROL_ERROR),
    "an overflow": (HELLO + frames.window_update(0, 0x7FFFFFFF), ErrorCode.FLOW_CONTROL_ERROR),
    "an increment of 0": (HELLO + frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "data on no stream": (HELLO + data(0, b"a"), ErrorCode.PROTOCOL_ERROR),
    "data on an idle stream": (HELLO + data(5, b"a"), ErrorCode.PROTOCOL_ERROR),
    "a reset of an idle stream": (HELLO + frames.rst_stream(5, 8), ErrorCode.PROTOCOL_ERROR),
    "a stream of the server": (HELLO + request(2, "Wait"), ErrorCode.PROTOCOL_ERROR),
    "a push": (HELLO + frame(5, 4, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a continuation of nothing": (HELLO + frame(9, 4, 1), ErrorCode.PROTOCOL_ERROR),
    "an interruption": (HELLO + EMPTY_BLOCK + frames.ping(bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "padding": (HELLO + request(1, "Wait") + frame(0, 8, 1, b"\x09a"), ErrorCode.PROTOCOL_ERROR),
    "a block that is none": (HELLO + frame(1, 4, 1, b"\xff\xff\xff"), ErrorCode.COMPRESSION_ERROR),
    "an index too large": (HELLO + frame(1, 4, 1, b"\xbe"), ErrorCode.COMPRESSION_ERROR),
    "an integer without end": (
        HELLO + frame(1, 4, 1, b"\xff" * 16000),
        ErrorCode.COMPRESSION_ERROR,
    ),
}


@pytest.mark.parametrize(("raw", "code"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_of_the_connection_ends_it(
    wire: ServerProcess, raw: bytes, code: ErrorCode
) -> None:
    async with harmless(wire):
        assert await asyncio.to_thread(told, wire, raw) is code


#: On stream 1, to which nobody answers. The window of a stream is 4 MiB.
STREAM_FAULTS = {
    "data after the end": (request(1, "Wait", end=True) + data(1, b"a"), ErrorCode.STREAM_CLOSED),
    "two requests": (request(1, "Wait") * 2, ErrorCode.PROTOCOL_ERROR),
    "an increment of 0": (
        request(1, "Wait") + frames.window_update(1, 0),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "an overflow": (
        request(1, "Wait") + frames.window_update(1, 0x7FFFFFFF),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "too long": (
        request(1, "Wait", ("content-length", "3")) + data(1, b"abcd"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "upper case": (request(1, "Wait", ("Name", "a")), ErrorCode.PROTOCOL_ERROR),
    "headers too large": (request(1, "Wait", ("a", "b" * 17_000)), ErrorCode.ENHANCE_YOUR_CALM),
}


@pytest.mark.parametrize(("raw", "code"), STREAM_FAULTS.values(), ids=STREAM_FAULTS)
async def test_a_fault_of_a_stream_ends_it_and_not_the_connection(
    wire: ServerProcess, raw: bytes, code: ErrorCode
) -> None:
    def attack() -> None:
        with attacker(wire) as one:
            one.say(HELLO + raw)
            assert one.listen_for(FrameType.RST_STREAM, 1) == struct.pack(">I", code)
            one.say(request(3, "Echo") + data(3, message(first_field(b"a")), end=True))
            assert one.listen_for(FrameType.DATA, 3) == message(first_field(b"a"))

    async with harmless(wire):
        await asyncio.to_thread(attack)
