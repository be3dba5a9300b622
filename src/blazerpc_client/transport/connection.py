"""One HTTP/2 connection, of either role: bytes in, events out, bytes to send; no I/O.

``receive`` never raises for what a peer sends: a fault of a stream resets it, a fault of the
connection ends in a GOAWAY and a ``ConnectionFailed``. The methods that send raise when this side
asks for what cannot be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from blazerpc_client.transport import frames
from blazerpc_client.transport.errors import (
    ConnectionClosed,
    ConnectionFault,
    ErrorCode,
    StreamClosed,
    TooManyStreams,
)
from blazerpc_client.transport.events import ConnectionFailed, Event
from blazerpc_client.transport.headers import EMPTY_TABLE
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.receiving import Receiver
from blazerpc_client.transport.settings import DEFAULT_FRAME, announced
from blazerpc_client.transport.streams import TRANSITIONS, Input, State, StreamState
from blazerpc_client.transport.windows import DEFAULT_WINDOW

#: Bytes that wait to be sent, in order.
Pieces = list[bytes | bytearray | memoryview]

#: A frame that messages are collected in, at most: its payload is what every peer takes.
_MAX_BATCH: Final = frames.HEAD_SIZE + DEFAULT_FRAME

#: What a GOAWAY names that only announces another (RFC 9113, section 6.8).
_ANY_STREAM: Final = frames.STREAM_MASK

#: WINDOW_UPDATEs that a peer may send for what it is sent at a time: some send one for each read.
_UPDATES: Final = 100


@dataclass(slots=True)
class _Batch:
    """A DATA frame that more may be added to; its head is written at the end."""

    stream: StreamState
    frame: bytearray


class Connection(Receiver):
    """An HTTP/2 connection.

    Args:
        client: the role of this side.
        limits: that the peer is held to.
        now: the time, by any clock that only goes forward; ``receive`` is told by the same.
    """

    def __init__(self, *, client: bool, limits: Limits = DEFAULT, now: float = 0.0) -> None:
        super().__init__(client=client, limits=limits, now=now)
        if client:
            self._out.append(frames.PREFACE)
        self._out.append(frames.settings(announced(limits, client=client)))
        self._out.append(frames.window_update(0, limits.connection_window - DEFAULT_WINDOW))
        if limits.connection_window == DEFAULT_WINDOW:
            self._out.pop()  # an increment of 0 is a fault (RFC 9113, section 6.9)
        self._next_id = 1
        self._batch: _Batch | None = None
        #: Bytes of data that wait for ``take``.
        self.queued: int = 0

    @property
    def pending(self) -> bool:
        """Whether there is something to send."""
        return bool(self._out)

    @property
    def open_streams(self) -> int:
        """How many streams are not closed."""
        return len(self._streams)

    @property
    def accepts_streams(self) -> bool:
        """Whether a client may open a stream: neither side has said goodbye."""
        return not (self._failed or self._peer_left or self._last_accepted is not None)

    def take(self) -> Pieces:
        """Return what is to be sent, once."""
        self._end_batch()
        out = self._out
        self._out = []
        self.queued = 0
        return out

    def receive(self, data: bytes, now: float) -> list[Event]:
        """Take bytes of the peer, cut anywhere; return what they say."""
        if self._failed:
            return []
        try:
            self._receive(data, now)
        except ConnectionFault as fault:
            self.fail(fault.code, fault.reason)
        events = self._events
        self._events = []
        return events

    def fail(self, code: ErrorCode, reason: str) -> None:
        """End the connection for a fault of the peer (RFC 9113, section 5.4.1)."""
        if self._failed:
            return
        self._failed = True
        self._streams.clear()
        self._out.append(frames.goaway(self._highest, code, reason.encode("ascii", "replace")))
        self._events.append(ConnectionFailed(code, reason))

    def is_open(self, stream_id: int) -> bool:
        """Return whether a stream is not closed."""
        return stream_id in self._streams

    def open(self, block: bytes, end_stream: bool) -> int:
        """Begin a request; return its stream.

        Raises:
            ConnectionClosed: when the connection takes no streams any more.
            TooManyStreams: when the peer has to close one first.
        """
        if not self.accepts_streams or self._next_id > frames.STREAM_MASK:
            raise ConnectionClosed("the connection takes no more calls")
        if len(self._streams) >= self.peer.max_concurrent_streams:
            raise TooManyStreams
        stream_id = self._begin_own().id
        self.send_headers(stream_id, block, end_stream)
        return stream_id

    def send_request(self, headers: bytes, data: bytes) -> int | None:
        """Begin a request, and send all of it, if it can go at once; return its stream if it did.

        Nearly every unary request can: windows have room, and the peer takes another stream.
        """
        size = len(data)
        if (
            size > min(self.peer.initial_window_size, self._window.size, DEFAULT_FRAME)
            or len(headers) > DEFAULT_FRAME
            or len(self._streams) >= self.peer.max_concurrent_streams
            or self._next_id > frames.STREAM_MASK
            or not self.accepts_streams
            or self._tell_table
        ):
            return None
        self._end_batch()
        stream = self._begin_own()
        stream.state = State.HALF_CLOSED_LOCAL
        stream.send.size -= size
        self._window.size -= size
        self.queued += size
        self._updates += _UPDATES
        self._out.append(frames.request(stream.id, headers, data))
        self._strikes.reset()
        return stream.id

    def _begin_own(self) -> StreamState:
        stream_id = self._next_id
        self._next_id += 2  # RFC 9113, section 5.1.1
        self._highest_own = stream_id
        self._streams[stream_id] = stream = self._new_stream(stream_id)
        return stream

    def send_headers(self, stream_id: int, block: bytes, end_stream: bool) -> None:
        """Send a header block: headers, or trailers with ``end_stream``.

        Raises:
            StreamClosed: when the stream does not allow it.
        """
        self._send(stream_id, Input.SEND_HEADERS_END if end_stream else Input.SEND_HEADERS)
        if self._tell_table:
            self._tell_table = False
            block = EMPTY_TABLE + block
        # Frames of any size that the peer takes; those of 16 KiB it always does.
        frame = frames.headers(stream_id, block, end_stream, DEFAULT_FRAME)
        self._out.append(frame)
        self._strikes.reset()

    def room(self, stream_id: int) -> int:
        """Return how much data can be sent now.

        Raises:
            StreamClosed: when the stream does not allow any.
        """
        stream = self._streams.get(stream_id)
        if stream is None or (stream.state, Input.SEND_DATA) not in TRANSITIONS:
            raise StreamClosed(f"stream {stream_id} does not allow data")
        return max(0, min(stream.send.size, self._window.size))

    def send_data(self, stream_id: int, data: memoryview, end_stream: bool) -> int:
        """Send as much of ``data`` as windows allow, in views of it; return how much.

        With ``end_stream`` the stream ends when all of it went.

        Raises:
            StreamClosed: when the stream does not allow it.
        """
        room = self.room(stream_id)
        size = min(len(data), room)
        end_stream = end_stream and size == len(data)
        if size == 0 and not end_stream:
            return 0
        stream = self._send(stream_id, Input.SEND_DATA_END if end_stream else Input.SEND_DATA)
        stream.send.size -= size
        self._window.size -= size
        self.queued += size
        step = self.peer.max_frame_size
        begin = 0
        while True:
            end = min(begin + step, size)
            last = end == size
            flags = frames.END_STREAM if last and end_stream else 0
            self._out.append(frames.head(end - begin, frames.FrameType.DATA, flags, stream_id))
            if end > begin:
                self._out.append(data[begin:end])
            if last:
                break
            begin = end
        self._updates += _UPDATES * (size // step)  # _send counted one frame
        self._strikes.reset()
        return size

    def send_answer(self, stream_id: int, headers: bytes, data: bytes, trailers: bytes) -> bool:
        """Send all that a server has to say of a call, if it can go at once; return whether it did.

        Nearly every unary answer can: its client has said all, and the windows have room.
        """
        stream = self._streams.get(stream_id)
        size = len(data)
        if (
            stream is None
            or stream.state is not State.HALF_CLOSED_REMOTE
            or size > min(stream.send.size, self._window.size, DEFAULT_FRAME)
            or len(headers) > DEFAULT_FRAME
            or len(trailers) > DEFAULT_FRAME
            or self._tell_table
        ):
            return False
        del self._streams[stream_id]
        self._window.size -= size
        self.queued += size
        self._updates += _UPDATES
        self._out.append(frames.answer(stream_id, headers, data, trailers))
        self._strikes.reset()
        return True

    def send_small(self, stream_id: int, data: bytes) -> bool:
        """Send data in one frame with what was sent just before; return whether it could be.

        A stream's messages that come one after the other cost a frame together, and not each.
        """
        stream = self._streams.get(stream_id)
        size = len(data)
        if stream is None or size > stream.send.size or size > self._window.size:
            return False
        batch = self._batch
        if batch is None or batch.stream is not stream or len(batch.frame) + size > _MAX_BATCH:
            if (stream.state, Input.SEND_DATA) not in TRANSITIONS:
                return False
            batch = self._begin_batch(stream)
        batch.frame += data
        self._updates += _UPDATES  # for each message that is read
        stream.send.size -= size
        self._window.size -= size
        self.queued += size
        return True

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Reset a stream; nothing happens to one that is closed (RFC 9113, section 5.4.2)."""
        if stream_id in self._streams:
            self._reset(stream_id, code)

    def release(self, stream_id: int, count: int) -> None:
        """Give the peer back the window of data that was read (RFC 9113, section 6.9)."""
        self._release(stream_id, count)

    def ping(self, payload: bytes) -> None:
        """Ask the peer for a sign of life (RFC 9113, section 6.7)."""
        self._out.append(frames.ping(payload))

    def announce_goodbye(self) -> None:
        """Say that a GOAWAY will follow: streams that are on their way are still taken.

        RFC 9113, section 6.8: a server does so at least a round trip before ``goodbye``.
        """
        self._out.append(frames.goaway(_ANY_STREAM, ErrorCode.NO_ERROR))

    def goodbye(self, code: ErrorCode = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
        """Take no new streams; those that are open go on (RFC 9113, section 6.8)."""
        if self._last_accepted is None and not self._failed:
            self._last_accepted = self._highest
            self._out.append(frames.goaway(self._highest, code, debug))

    def _begin_batch(self, stream: StreamState) -> _Batch:
        self._end_batch()
        self._batch = batch = _Batch(stream, bytearray(frames.HEAD_SIZE))
        self._out.append(batch.frame)
        self._strikes.reset()
        return batch

    def _end_batch(self) -> None:
        batch, self._batch = self._batch, None
        if batch is not None:
            size = len(batch.frame) - frames.HEAD_SIZE
            head = frames.head(size, frames.FrameType.DATA, 0, batch.stream.id)
            batch.frame[: frames.HEAD_SIZE] = head

    def _send(self, stream_id: int, what: Input) -> StreamState:
        """Do the transition of something that is sent, after all that was sent before."""
        self._end_batch()
        stream = self._streams.get(stream_id)
        state = None if stream is None else TRANSITIONS.get((stream.state, what))
        if stream is None or state is None:
            raise StreamClosed(f"stream {stream_id} does not allow {what.name}")
        stream.state = state
        self._updates += _UPDATES
        if state is State.CLOSED:
            del self._streams[stream_id]
        return stream
