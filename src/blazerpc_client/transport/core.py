"""What a connection knows: its streams, its windows, and what is to be sent and told."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from blazerpc_client.transport import frames
from blazerpc_client.transport.errors import ConnectionFault, ErrorCode, StreamFault
from blazerpc_client.transport.events import Event, StreamReset
from blazerpc_client.transport.limits import Counter, Limits, PingStrikes
from blazerpc_client.transport.settings import PeerSettings
from blazerpc_client.transport.streams import TRANSITIONS, Input, State, StreamState
from blazerpc_client.transport.windows import DEFAULT_WINDOW, ReceiveWindow, SendWindow

#: How many streams that this side has reset are remembered: the peer may not know it yet.
_MAX_REMEMBERED: Final = 256


class Core:
    """The state of a connection, and what sending and receiving both do to it.

    Attributes:
        peer: the settings of the other side.
    """

    def __init__(self, *, client: bool, limits: Limits, now: float) -> None:
        self._client = client
        self._limits = limits
        self._now = now
        self.peer: PeerSettings = PeerSettings(client=not client)
        self._streams: dict[int, StreamState] = {}
        self._window = SendWindow()
        self._receive_window = ReceiveWindow(limits.connection_window)
        self._out: list[bytes | bytearray | memoryview] = []
        self._events: list[Event] = []
        self._acknowledged = False  # by the peer: this side's settings
        self._tell_table = False
        self._highest = 0  # stream of the client, seen by the server
        self._highest_own = 0  # stream of the client, seen by itself
        self._last_accepted: int | None = None
        self._peer_left = False
        self._failed = False
        self._reset_here: OrderedDict[int, None] = OrderedDict()
        self._updates = 0  # WINDOW_UPDATEs that the peer may send for what it was sent
        self._idle_frames = Counter(limits.idle_frames, now)
        self._stream_errors = Counter(limits.stream_errors, now)
        self._strikes = PingStrikes(limits.min_ping_interval, limits.max_ping_strikes)

    def _new_stream(self, stream_id: int) -> StreamState:
        size = self._limits.stream_window
        # Until it has seen our settings, the peer goes by the default (RFC 9113, 6.9.2).
        leeway = 0 if self._acknowledged else max(0, DEFAULT_WINDOW - size)
        receive = ReceiveWindow(size, leeway)
        return StreamState(stream_id, self.peer.initial_window_size, receive)

    def _stream(self, stream_id: int) -> StreamState | None:
        """Return a stream that the peer speaks of, None if it is closed.

        Raises:
            ConnectionFault: for a stream that nobody has opened (RFC 9113, section 5.1).
        """
        stream = self._streams.get(stream_id)
        if stream is None and not self._is_late(stream_id):
            highest = self._highest_own if self._client else self._highest
            if stream_id > highest or stream_id % 2 == 0:
                raise fault(f"a frame on stream {stream_id}, which is idle")
        return stream

    def _is_late(self, stream_id: int) -> bool:
        """Return whether a stream came after this side's last GOAWAY (RFC 9113, 6.8)."""
        last = self._last_accepted
        return last is not None and not self._client and stream_id > last and stream_id % 2 == 1

    def _is_ignored(self, stream_id: int) -> bool:
        """Return whether frames on a closed stream are to be expected (RFC 9113, 5.1)."""
        return stream_id in self._reset_here or self._is_late(stream_id)

    def _step(self, stream: StreamState, what: Input) -> None:
        """Do the transition of something that was received."""
        state = TRANSITIONS.get((stream.state, what))
        if state is None:
            # RFC 9113, section 5.1: half-closed (remote).
            raise StreamFault(ErrorCode.STREAM_CLOSED, f"{what.name} after the end of the stream")
        stream.state = state
        if state is State.CLOSED:
            del self._streams[stream.id]

    def _stream_fault(self, stream_id: int, fault: StreamFault) -> None:
        if not self._stream_errors.allows(self._now):
            # Streams that a client makes this side reset cost as much as those it resets.
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many faults of streams")
        stream = self._streams.get(stream_id)
        self._reset(stream_id, fault.code)
        if stream is not None and (self._client or stream.answered):
            self._events.append(StreamReset(stream_id, fault.code, fault.reason, by_peer=False))

    def _reset(self, stream_id: int, code: ErrorCode) -> None:
        self._streams.pop(stream_id, None)
        self._reset_here[stream_id] = None
        if len(self._reset_here) > _MAX_REMEMBERED:
            self._reset_here.popitem(last=False)
        self._out.append(frames.rst_stream(stream_id, code))

    def _release(self, stream_id: int, count: int) -> None:
        """Tell the peer of window that is free again, when it is worth a frame."""
        if not count or self._failed:
            return
        increment = self._receive_window.release(count)
        if increment:
            self._out.append(frames.window_update(0, increment))
        stream = self._streams.get(stream_id)
        # After its last data the peer has no use for the window of the stream.
        if stream is not None and stream.state is not State.HALF_CLOSED_REMOTE:
            increment = stream.receive.release(count)
            if increment:
                self._out.append(frames.window_update(stream_id, increment))

    def _idle(self) -> None:
        """Count a frame that moves nothing."""
        if not self._idle_frames.allows(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames without a use")


def fault(reason: str) -> ConnectionFault:
    """Return the fault of a peer that breaks the rules in a way that has no code of its own."""
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, reason)
