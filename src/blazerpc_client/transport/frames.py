"""Frames (RFC 9113, sections 4 and 6): built, and their payloads read."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from blazerpc_client.transport.errors import ConnectionFault, ErrorCode

#: What a client sends first (RFC 9113, section 3.4).
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

#: Length, in two parts since struct has no 24-bit number; type, flags, stream (section 4.1).
HEAD: Final = struct.Struct(">HBBBI")

HEAD_SIZE: Final = 9

#: The stream number without its reserved bit (RFC 9113, section 4.1).
STREAM_MASK: Final = (1 << 31) - 1


class FrameType(IntEnum):
    """Types of frames (RFC 9113, section 6)."""

    DATA = 0x0
    HEADERS = 0x1
    PRIORITY = 0x2
    RST_STREAM = 0x3
    SETTINGS = 0x4
    PUSH_PROMISE = 0x5
    PING = 0x6
    GOAWAY = 0x7
    WINDOW_UPDATE = 0x8
    CONTINUATION = 0x9


ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20

_LONG: Final = struct.Struct(">I")
_TWO_LONGS: Final = struct.Struct(">II")
_SETTING: Final = struct.Struct(">HI")


def head(length: int, kind: int, flags: int, stream_id: int) -> bytes:
    """Return the nine bytes before a payload (RFC 9113, section 4.1)."""
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream_id)


def read_head(view: memoryview, position: int) -> tuple[int, int, int, int]:
    """Return length, type, flags and stream of the frame at ``position`` (RFC 9113, 4.1)."""
    high: int
    high, low, kind, flags, stream_id = HEAD.unpack_from(view, position)
    return high << 8 | low, kind, flags, stream_id & STREAM_MASK


def settings(values: Mapping[int, int]) -> bytes:
    """Return a SETTINGS frame (RFC 9113, section 6.5)."""
    payload = b"".join(_SETTING.pack(*item) for item in values.items())
    return head(len(payload), FrameType.SETTINGS, 0, 0) + payload


SETTINGS_ACK: Final = head(0, FrameType.SETTINGS, ACK, 0)


def ping(payload: bytes, *, ack: bool = False) -> bytes:
    """Return a PING frame (RFC 9113, section 6.7)."""
    return head(8, FrameType.PING, ACK if ack else 0, 0) + payload


def goaway(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """Return a GOAWAY frame (RFC 9113, section 6.8)."""
    payload = _TWO_LONGS.pack(last_stream_id, code) + debug
    return head(len(payload), FrameType.GOAWAY, 0, 0) + payload


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return an RST_STREAM frame (RFC 9113, section 6.4)."""
    return head(4, FrameType.RST_STREAM, 0, stream_id) + _LONG.pack(code)


def window_update(stream_id: int, increment: int) -> bytes:
    """Return a WINDOW_UPDATE frame (RFC 9113, section 6.9)."""
    return head(4, FrameType.WINDOW_UPDATE, 0, stream_id) + _LONG.pack(increment)


def headers(stream_id: int, block: bytes, end_stream: bool, max_frame: int) -> bytes:
    """Return HEADERS, and CONTINUATIONs where the block needs them (RFC 9113, 6.2, 6.10)."""
    flags = END_STREAM if end_stream else 0
    if len(block) <= max_frame:
        return head(len(block), FrameType.HEADERS, flags | END_HEADERS, stream_id) + block
    pieces = [block[i : i + max_frame] for i in range(0, len(block), max_frame)]
    frames = [head(max_frame, FrameType.HEADERS, flags, stream_id), pieces[0]]
    for piece in pieces[1:]:
        flags = END_HEADERS if piece is pieces[-1] else 0
        frames += head(len(piece), FrameType.CONTINUATION, flags, stream_id), piece
    return b"".join(frames)


def request(stream_id: int, headers: bytes, data: bytes) -> bytes:
    """Return HEADERS and the DATA that ends the stream's side, each of one frame."""
    return b"".join(
        (
            head(len(headers), FrameType.HEADERS, END_HEADERS, stream_id),
            headers,
            head(len(data), FrameType.DATA, END_STREAM, stream_id),
            data,
        )
    )


def answer(stream_id: int, headers: bytes, data: bytes, trailers: bytes) -> bytes:
    """Return HEADERS, DATA and the HEADERS that end the stream, each of one frame."""
    return b"".join(
        (
            head(len(headers), FrameType.HEADERS, END_HEADERS, stream_id),
            headers,
            head(len(data), FrameType.DATA, 0, stream_id),
            data,
            head(len(trailers), FrameType.HEADERS, END_HEADERS | END_STREAM, stream_id),
            trailers,
        )
    )


def read_settings(payload: memoryview) -> dict[int, int]:
    """Return the settings of a frame; of one given twice, the last (RFC 9113, section 6.5).

    Raises:
        ConnectionFault: for a payload that is none.
    """
    if len(payload) % _SETTING.size:
        raise size_error("SETTINGS")
    return dict(_SETTING.iter_unpack(payload))


def read_long(payload: memoryview, frame: str) -> int:
    """Return the one number of RST_STREAM and WINDOW_UPDATE (RFC 9113, sections 6.4, 6.9).

    Raises:
        ConnectionFault: for a payload of another size.
    """
    if len(payload) != _LONG.size:
        raise size_error(frame)
    number: int = _LONG.unpack(payload)[0]
    return number


def read_goaway(payload: memoryview) -> tuple[int, int, bytes]:
    """Return last stream, code and debug data of a GOAWAY (RFC 9113, section 6.8).

    Raises:
        ConnectionFault: for a payload that is too short.
    """
    if len(payload) < _TWO_LONGS.size:
        raise size_error("GOAWAY")
    last, code = _TWO_LONGS.unpack_from(payload)
    return last & STREAM_MASK, code, bytes(payload[_TWO_LONGS.size :])


def read_block(payload: memoryview, flags: int) -> memoryview:
    """Return the piece of a header block that a HEADERS frame holds (RFC 9113, section 6.2).

    Priorities are read over (RFC 9113, section 5.3.2).

    Raises:
        ConnectionFault: for padding or a priority that cannot be.
    """
    begin, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise size_error("HEADERS")
        begin, end = 1, end - payload[0]
    if flags & PRIORITY:
        if len(payload) < begin + 5:
            raise size_error("HEADERS")
        begin += 5
    if begin > end:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding is longer than its frame")
    return payload[begin:end]


def size_error(frame: str) -> ConnectionFault:
    """Return the fault of a frame of a size that its type does not have (RFC 9113, 4.2)."""
    return ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a {frame} frame of a wrong size")
