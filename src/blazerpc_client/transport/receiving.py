"""The receiving half of a connection: from bytes to frames, header blocks and data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from blazerpc_client.transport import frames
from blazerpc_client.transport.control import Control
from blazerpc_client.transport.core import fault
from blazerpc_client.transport.errors import ConnectionFault, ErrorCode, StreamFault
from blazerpc_client.transport.events import DataReceived, HeadersReceived, TrailersReceived
from blazerpc_client.transport.frames import END_HEADERS, END_STREAM, FrameType
from blazerpc_client.transport.headers import (
    Block,
    BlockDecoder,
    check_request,
    check_response,
    check_trailers,
)
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.settings import DEFAULT_FRAME
from blazerpc_client.transport.streams import TRANSITIONS, Input, StreamState

#: How TLS begins: the record that a client sends, and a server's that was not sent one. No frame
#: begins so: it would be longer than any is.
_HANDSHAKE: Final = 0x16
_TLS_ALERT: Final = b"\x15\x03"

#: Of frames and blocks that are held until they are whole: this many times the header list.
_HELD_LISTS: Final = 4


@dataclass(slots=True)
class _PartialBlock:
    """A header block that is not complete, and so the only thing that may come."""

    stream_id: int
    end_stream: bool
    data: bytearray = field(default_factory=bytearray)
    continuations: int = 0


@dataclass(slots=True)
class _PartialData:
    """A DATA frame, while there is more of it to come."""

    stream_id: int = 0
    left: int = 0
    padding: int = 0
    end_stream: bool = False
    open: bool = False


class Receiver(Control):
    """What both roles do with the bytes they receive."""

    def __init__(self, *, client: bool, limits: Limits, now: float) -> None:
        super().__init__(client=client, limits=limits, now=now)
        self._decoder = BlockDecoder(limits.max_header_list)
        self._block: _PartialBlock | None = None
        self._data = _PartialData()
        self._skip = 0  # of a frame that is dropped as it comes
        self._held = b""
        self._max_held = max(DEFAULT_FRAME, _HELD_LISTS * limits.max_header_list)
        self._expect_preface = not client
        self._expect_settings = True

    # The loop over frames. DATA goes on as it comes, however large its frame is, and an unknown
    # frame is dropped as it comes; only the others are held until they are whole.

    def _receive(self, data: bytes, now: float) -> None:
        self._now = now
        if self._held:
            data = self._held + data
            self._held = b""
        view = memoryview(data)
        position = self._preface(data) if self._expect_preface else 0
        while not self._expect_preface:
            if self._data.open:
                position = self._more_data(view, position)
            elif self._skip:
                skipped = min(self._skip, len(view) - position)
                self._skip -= skipped
                position += skipped
            begun = self._frame(view, position)
            if begun == position:
                break
            position = begun
        if position < len(data):
            self._held = data[position:]

    def _preface(self, data: bytes) -> int:
        """Check what a client sends first (RFC 9113, section 3.4); return where frames begin."""
        if not frames.PREFACE.startswith(data[: len(frames.PREFACE)]):
            raise fault("it speaks TLS" if data[0] == _HANDSHAKE else "this is not HTTP/2")
        if len(data) < len(frames.PREFACE):
            return 0
        self._expect_preface = False
        return len(frames.PREFACE)

    def _frame(self, view: memoryview, position: int) -> int:
        """Read one frame, if it is there; return where the next begins."""
        begin = position + frames.HEAD_SIZE
        if begin > len(view) or self._data.open or self._skip:
            if self._expect_settings and bytes(view[position : position + 2]) == _TLS_ALERT:
                raise fault("it speaks TLS, and this connection is plaintext")
            return position
        length, kind, flags, stream_id = frames.read_head(view, position)
        self._check_order(kind, flags, stream_id, length)
        if kind == FrameType.DATA:
            return self._data_frame(view, begin, length, flags, stream_id)
        handler = _HANDLERS.get(kind)
        if handler is None:
            self._idle()
            self._skip = length
            return begin
        if length > self._max_held:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a frame of {length} bytes")
        end = begin + length
        if end > len(view):
            return position
        try:
            handler(self, flags, stream_id, view[begin:end])
        except StreamFault as error:
            self._stream_fault(stream_id, error)
        return end

    def _check_order(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if length > self._limits.max_frame_size:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if self._expect_settings:
            # RFC 9113, section 3.4: the first frame of either side.
            if kind != FrameType.SETTINGS or flags & frames.ACK:
                raise fault("the first frame is not SETTINGS")
            self._expect_settings = False
        block = self._block
        # RFC 9113, section 6.10: nothing may come between the frames of a header block.
        if (block is not None) != (kind == FrameType.CONTINUATION) or (
            block is not None and stream_id != block.stream_id
        ):
            raise fault("a header block is interrupted, or continued without one")

    # DATA (RFC 9113, section 6.1).

    def _data_frame(
        self, view: memoryview, begin: int, length: int, flags: int, stream_id: int
    ) -> int:
        padding = 0
        if flags & frames.PADDED:
            if length == 0:
                raise frames.size_error("DATA")
            if begin == len(view):  # the length of the padding has not come
                return begin - frames.HEAD_SIZE
            padding = view[begin] + 1
            if padding > length:
                raise fault("padding is longer than its frame")
            begin += 1
        if not self._receive_window.take(length):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is over")
        if length == padding and not flags & END_STREAM:
            self._idle()
        end_stream = bool(flags & END_STREAM)
        end = begin + length
        if end <= len(view) and not padding:  # nearly always
            self._whole_data(stream_id, view[begin:end], end_stream)
            return end
        self._data = _PartialData(
            stream_id, length - padding, max(0, padding - 1), end_stream, open=True
        )
        try:
            self._accept_data(stream_id, length)
        except StreamFault as error:
            self._stream_fault(stream_id, error)
        self._release(stream_id, padding)
        return self._more_data(view, begin)

    def _whole_data(self, stream_id: int, data: memoryview, end_stream: bool) -> None:
        """Pass on a DATA frame that is there from its begin to its end."""
        try:
            self._accept_data(stream_id, len(data))
            stream = self._streams.get(stream_id)
            if stream is None:
                self._release(stream_id, len(data))
            else:
                self._pass_on(stream, data, end_stream)
        except StreamFault as error:
            self._release(stream_id, len(data))
            self._stream_fault(stream_id, error)

    def _accept_data(self, stream_id: int, length: int) -> None:
        stream = self._stream(stream_id)
        if stream is None:
            if not self._is_ignored(stream_id):
                raise StreamFault(ErrorCode.STREAM_CLOSED, "data on a stream that is closed")
        elif (stream.state, Input.RECV_DATA) not in TRANSITIONS:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "data after the end of the stream")
        elif not self._client or stream.answered:
            if not stream.receive.take(length):
                raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "the stream's window is over")
        else:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "data before headers")

    def _more_data(self, view: memoryview, position: int) -> int:
        """Pass on what there is of a DATA frame; return where the next frame begins."""
        frame = self._data
        end = min(position + frame.left, len(view))
        frame.left -= end - position
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            self._release(frame.stream_id, end - position)
        elif frame.left == 0 or end > position:
            try:
                self._pass_on(stream, view[position:end], frame.left == 0 and frame.end_stream)
            except StreamFault as error:
                self._release(frame.stream_id, end - position)
                self._stream_fault(frame.stream_id, error)
        position = end
        if frame.left == 0:
            end = min(position + frame.padding, len(view))
            frame.padding -= end - position
            frame.end_stream = False
            frame.open = frame.padding > 0
        return end

    def _pass_on(self, stream: StreamState, data: memoryview, end: bool) -> None:
        if stream.expected is not None:
            self._count(stream, len(data), end)
        if end:
            self._step(stream, Input.RECV_DATA_END)
        if end or data:
            self._events.append(DataReceived(stream.id, data, end))

    def _count(self, stream: StreamState, size: int, end: bool) -> None:
        """Hold a stream to its content-length (RFC 9113, section 8.1.1)."""
        assert stream.expected is not None
        stream.expected -= size
        if stream.expected < 0 or (end and stream.expected):
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "data differs from its content-length")

    # Header blocks (RFC 9113, sections 6.2 and 6.10).

    def _headers_frame(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if stream_id == 0:
            raise fault("HEADERS on stream 0")
        end_stream = bool(flags & END_STREAM)
        piece = frames.read_block(payload, flags)
        if flags & END_HEADERS and len(piece) <= self._max_held:  # nearly always
            self._header_block(stream_id, bytes(piece), end_stream)
            return
        self._block = _PartialBlock(stream_id, end_stream)
        self._add_to_block(piece, flags)

    def _continuation(self, flags: int, stream_id: int, payload: memoryview) -> None:
        block = self._block
        assert block is not None  # by _check_order
        block.continuations += 1
        if block.continuations > self._limits.max_continuations:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATION frames")
        self._add_to_block(payload, flags)

    def _add_to_block(self, payload: memoryview, flags: int) -> None:
        block = self._block
        assert block is not None
        block.data += payload
        if len(block.data) > self._max_held:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & END_HEADERS:
            self._block = None
            self._header_block(block.stream_id, bytes(block.data), block.end_stream)

    def _header_block(self, stream_id: int, data: bytes, end_stream: bool) -> None:
        # Whatever becomes of the stream, the block is read: it may change the table.
        stream = self._stream_of_headers(stream_id)
        first = stream is None or not stream.answered
        first_check = check_response if self._client else check_request
        check = first_check if first else check_trailers
        block = self._decoder.decode(data, check)
        if stream is None:
            if self._is_ignored(stream_id):
                return
            raise StreamFault(ErrorCode.STREAM_CLOSED, "headers on a stream that is closed")
        if first:
            self._first_headers(stream, block, end_stream)
        elif not end_stream:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "trailers that do not end the stream")
        else:
            self._end_headers(stream)
            self._events.append(TrailersReceived(stream.id, block.fields))

    def _first_headers(self, stream: StreamState, block: Block, end_stream: bool) -> None:
        if self._client and block.fields[0][1].startswith("1"):
            # An interim response (RFC 9113, section 8.1); gRPC has no use for it.
            if end_stream:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "an interim response ends the stream")
            self._idle()
            return
        if not self._client and len(self._streams) > self._limits.max_concurrent_streams:
            # RFC 9113, section 5.1.2.
            raise StreamFault(ErrorCode.REFUSED_STREAM, "too many streams at once")
        stream.answered = True
        stream.expected = block.content_length
        if end_stream:
            self._end_headers(stream)
        else:
            self._step(stream, Input.RECV_HEADERS)
        self._events.append(HeadersReceived(stream.id, block.fields, end_stream))

    def _end_headers(self, stream: StreamState) -> None:
        if stream.expected is not None:
            self._count(stream, 0, end=True)
        self._step(stream, Input.RECV_HEADERS_END)

    def _stream_of_headers(self, stream_id: int) -> StreamState | None:
        """Return the stream of a header block, a new one where a client begins one."""
        if self._client or stream_id <= self._highest:
            return self._stream(stream_id)
        if stream_id % 2 == 0:  # RFC 9113, section 5.1.1
            raise fault(f"a client opens stream {stream_id}")
        if self._is_late(stream_id):
            return None
        self._highest = stream_id
        stream = self._streams[stream_id] = self._new_stream(stream_id)
        return stream


#: Which method takes a frame's flags, stream and payload. DATA is not among them: see the loop.
_Handler: TypeAlias = Callable[[Receiver, int, int, memoryview], None]
_HANDLERS: Final[dict[int, _Handler]] = {
    FrameType.HEADERS: Receiver._headers_frame,
    FrameType.PRIORITY: Receiver._priority,
    FrameType.RST_STREAM: Receiver._rst_stream,
    FrameType.SETTINGS: Receiver._settings_frame,
    FrameType.PUSH_PROMISE: Receiver._push_promise,
    FrameType.PING: Receiver._ping_frame,
    FrameType.GOAWAY: Receiver._goaway_frame,
    FrameType.WINDOW_UPDATE: Receiver._window_update,
    FrameType.CONTINUATION: Receiver._continuation,
}
