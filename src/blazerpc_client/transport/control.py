"""Frames of the connection and of streams that carry neither headers nor data."""

from __future__ import annotations

from blazerpc_client.transport import frames
from blazerpc_client.transport.core import Core, fault
from blazerpc_client.transport.errors import ConnectionFault, ErrorCode, StreamFault, code_name
from blazerpc_client.transport.events import (
    GoAwayReceived,
    PingAcked,
    SettingsReceived,
    StreamReset,
    WindowOpened,
)
from blazerpc_client.transport.limits import Counter, Limits
from blazerpc_client.transport.settings import DEFAULT_TABLE, Setting
from blazerpc_client.transport.streams import Input


class Control(Core):
    """PRIORITY to WINDOW_UPDATE (RFC 9113, sections 6.3 to 6.9)."""

    def __init__(self, *, client: bool, limits: Limits, now: float) -> None:
        super().__init__(client=client, limits=limits, now=now)
        self._settings = Counter(limits.settings, now)
        self._pings = Counter(limits.pings, now)
        self._resets = Counter(limits.resets, now)

    def _priority(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if stream_id == 0:
            raise fault("PRIORITY on stream 0")
        if len(payload) != 5:
            raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, "PRIORITY of a wrong size")
        self._idle()

    def _rst_stream(self, flags: int, stream_id: int, payload: memoryview) -> None:
        code = frames.read_long(payload, "RST_STREAM")
        stream = self._stream(stream_id)
        if not self._client and not self._resets.allows(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many resets")
        if stream is not None:
            self._step(stream, Input.RECV_RST_STREAM)
            refused = code == ErrorCode.REFUSED_STREAM
            reason = f"the peer reset the stream: {code_name(code)}"
            self._events.append(StreamReset(stream_id, code, reason, True, refused))

    def _settings_frame(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if stream_id:
            raise fault("SETTINGS on a stream")
        if not self._settings.allows(self._now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")
        if flags & frames.ACK:
            if payload:
                raise frames.size_error("SETTINGS")
            self._acknowledged = True
            return
        settings = frames.read_settings(payload)
        before = self.peer.initial_window_size
        self.peer.apply(settings)
        if settings.get(Setting.HEADER_TABLE_SIZE, DEFAULT_TABLE) < DEFAULT_TABLE:
            self._tell_table = True
        change = self.peer.initial_window_size - before
        for stream in self._streams.values():
            if not stream.send.grow(change):  # RFC 9113, section 6.9.2
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2**31 - 1")
        self._out.append(frames.SETTINGS_ACK)
        self._events.append(SettingsReceived())
        if change > 0:
            self._events.append(WindowOpened(0))

    def _push_promise(self, flags: int, stream_id: int, payload: memoryview) -> None:
        # RFC 9113, sections 6.6 and 8.4: no client may push, and this client allows no server to.
        raise fault("PUSH_PROMISE")

    def _ping_frame(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if stream_id:
            raise fault("PING on a stream")
        if len(payload) != 8:
            raise frames.size_error("PING")
        ack = flags & frames.ACK
        if not self._pings.allows(self._now) or not (
            ack or self._client or self._strikes.allows(self._now)
        ):
            # gRPC's clients know this text: they ping less often from then on.
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too_many_pings")
        if ack:
            self._events.append(PingAcked(bytes(payload)))
            return
        self._out.append(frames.ping(bytes(payload), ack=True))

    def _goaway_frame(self, flags: int, stream_id: int, payload: memoryview) -> None:
        if stream_id:
            raise fault("GOAWAY on a stream")
        last, code, debug = frames.read_goaway(payload)
        if self._peer_left:  # RFC 9113, section 6.8: a second one is all that anybody needs
            self._idle()
        self._peer_left = True
        if self._client:
            for late in [number for number in self._streams if number > last]:
                del self._streams[late]
                reason = f"the server is going away: {code_name(code)}"
                self._events.append(StreamReset(late, code, reason, True, unprocessed=True))
        self._events.append(GoAwayReceived(code, debug))

    def _window_update(self, flags: int, stream_id: int, payload: memoryview) -> None:
        increment = frames.read_long(payload, "WINDOW_UPDATE") & frames.STREAM_MASK
        if self._updates:
            self._updates -= 1
        else:
            self._idle()
        if stream_id == 0:
            window = self._window
        else:
            stream = self._stream(stream_id)
            if stream is None:
                return
            window = stream.send
        kind = StreamFault if stream_id else ConnectionFault
        if increment == 0:
            raise kind(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        shut = window.size <= 0
        if not window.grow(increment):
            raise kind(ErrorCode.FLOW_CONTROL_ERROR, "a window beyond 2**31 - 1")
        if shut and window.size > 0:
            # Nobody waits for a window that was open. An event of stream 0 is work for each stream
            # that waits: one for every frame would make few bytes much work.
            self._events.append(WindowOpened(stream_id))
