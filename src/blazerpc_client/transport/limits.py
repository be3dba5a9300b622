"""What a peer may ask of this side: one set of options, and counters that hold it to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MIB: Final = 1 << 20
_MAX_WINDOW: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Pace:
    """How often something may happen: ``burst`` times at once, ``per_second`` in the long run."""

    burst: int
    per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one connection; times are seconds, sizes bytes; None is no limit.

    Attributes:
        max_receive_message: a message that is received, after decompression; 4 MiB as in gRPC.
        max_send_message: a message that is sent.
        max_header_list: all fields of a header block, as RFC 9113, section 6.5.2, counts them.
        max_continuations: CONTINUATION frames of one header block.
        max_concurrent_streams: calls at once that a client may have on one connection.
        max_frame_size: payload of a frame, announced to the peer.
        stream_window: data of a stream that may wait to be read, announced to the peer.
        connection_window: data that may wait to be read on all streams of a connection together.
        settings: SETTINGS frames of the peer, and its answers to those of this side.
        pings: PING frames of the peer, and its answers likewise.
        resets: RST_STREAM frames of the peer (CVE-2023-44487).
        idle_frames: frames that move nothing: DATA without data, PRIORITY, unknown types, and
            WINDOW_UPDATEs beyond a hundred for each frame that the peer was sent.
        stream_errors: streams that this side has to reset for what the peer did on them.
        min_ping_interval: between keepalive pings of a client while no data flows; gRPC's 300.
        max_ping_strikes: pings sooner than that before the connection ends; gRPC's 2.
        handshake_timeout: until the peer's preface and settings have come.
        idle_timeout: without a call until the connection is closed.
        max_connection_age: of a connection to a server, a tenth more or less at random; then it is
            drained, so that its client looks for servers again.
        keepalive_time: without a byte received until this side pings.
        keepalive_timeout: until such a ping is answered.
        stall_timeout: that a message waits for the peer to open a window, that a peer leaves the
            socket full, and that a client lets its request wait.
        max_connections: of a server at once.

    Raises:
        ValueError: naming the option and its bound.
    """

    max_receive_message: int = 4 * _MIB
    max_send_message: int = _MAX_WINDOW
    max_header_list: int = 16 << 10
    max_continuations: int = 16
    max_concurrent_streams: int = 256
    max_frame_size: int = _MIB
    stream_window: int = 4 * _MIB
    connection_window: int = 16 * _MIB
    settings: Pace = Pace(100, 10)
    pings: Pace = Pace(1000, 100)
    resets: Pace = Pace(1000, 100)
    idle_frames: Pace = Pace(1000, 200)
    stream_errors: Pace = Pace(1000, 100)
    min_ping_interval: float = 300
    max_ping_strikes: int = 2
    handshake_timeout: float = 20
    idle_timeout: float | None = None
    max_connection_age: float | None = None
    keepalive_time: float | None = 7200
    keepalive_timeout: float = 20
    stall_timeout: float | None = 300
    max_connections: int | None = None

    def __post_init__(self) -> None:
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} is {value!r}; it must be {low:g} to {high:g}")


#: What each option may be. Frame size and windows: RFC 9113, sections 6.5.2 and 6.9.1.
_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "max_receive_message": (0, _MAX_WINDOW),
    "max_send_message": (0, _MAX_WINDOW),
    "max_header_list": (1 << 10, 16 * _MIB),
    "max_continuations": (0, 1 << 16),
    "max_concurrent_streams": (1, _MAX_WINDOW),
    "max_frame_size": (1 << 14, (1 << 24) - 1),
    "stream_window": (1, _MAX_WINDOW),
    "connection_window": ((1 << 16) - 1, _MAX_WINDOW),
    "min_ping_interval": (0, 1e9),
    "max_ping_strikes": (0, 1e9),
    "handshake_timeout": (0.001, 1e9),
    "idle_timeout": (0.001, 1e9),
    "max_connection_age": (0.001, 1e9),
    "keepalive_time": (0, 1e9),
    "keepalive_timeout": (0.001, 1e9),
    "stall_timeout": (0, 1e9),
    "max_connections": (1, 1e9),
}

DEFAULT: Final = Limits()


class Counter:
    """Holds a peer to a pace: a bucket of tokens that fills again with time."""

    __slots__ = ("_pace", "_time", "_tokens")

    def __init__(self, pace: Pace, now: float) -> None:
        self._pace = pace
        self._tokens = float(pace.burst)
        self._time = now

    def allows(self, now: float) -> bool:
        """Count one event; return whether it is within the pace."""
        pace = self._pace
        gained = (now - self._time) * pace.per_second
        self._tokens = min(float(pace.burst), self._tokens + gained) - 1
        self._time = now
        if self._tokens < 0:
            self._tokens = 0
            return False
        return True


class PingStrikes:
    """Tells a keepalive that is too eager, as gRPC's servers do.

    https://github.com/grpc/proposal/blob/master/A8-client-side-keepalive.md
    """

    __slots__ = ("_interval", "_last", "_max", "_strikes")

    def __init__(self, interval: float, strikes: int) -> None:
        self._interval = interval
        self._max = strikes
        self._strikes = 0
        self._last: float | None = None

    def allows(self, now: float) -> bool:
        """Count one ping; return whether the peer may go on."""
        if self._last is not None and now - self._last < self._interval:
            self._strikes += 1
        self._last = now
        return self._strikes <= self._max

    def reset(self) -> None:
        """Begin anew: pings beside calls that are answered are no idle keepalive."""
        self._strikes = 0
        self._last = None
