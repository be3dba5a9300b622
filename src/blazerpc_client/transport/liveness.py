"""When a connection is pinged, given up, or ended: arithmetic on its limits."""

from __future__ import annotations

import random
from typing import Final

from blazerpc_client.transport.limits import Limits

#: Seconds from one look to the next, at most and at least.
_SELDOM: Final = 60.0
_OFTEN: Final = 0.01

#: By this part a connection's age is more or less than its limit, at random: those that began
#: together do not all end together. It is gRPC's.
#: https://github.com/grpc/proposal/blob/master/A9-server-side-conn-mgt.md
_JITTER: Final = 0.1


class Liveness:
    """The times of one connection, in seconds of the monotonic clock.

    Args:
        limits: of the connection.
        client: the role of this side; it is a server that ends connections.
        now: when it begins.

    Attributes:
        heard: when the last byte came.
        used: when the last call ended.
    """

    def __init__(self, limits: Limits, *, client: bool, now: float) -> None:
        self.heard: float = now
        self.used: float = now
        self._limits = limits
        self._idle_timeout = None if client else limits.idle_timeout
        self._end: float | None = None
        if limits.max_connection_age is not None and not client:
            share = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - it keeps no secret
            self._end = now + limits.max_connection_age * share
        # Of the handshake, or of a keepalive ping.
        self._deadline: float | None = None

    def greet(self, now: float) -> None:
        """Expect the peer's settings."""
        self._deadline = now + self._limits.handshake_timeout

    def answered(self) -> bool:
        """Take note of the peer's settings, or its answer to a ping; tell if one was expected."""
        expected, self._deadline = self._deadline is not None, None
        return expected

    def is_overdue(self, now: float) -> bool:
        """Return whether the peer has not answered in time."""
        return self._deadline is not None and now >= self._deadline

    def should_ping(self, now: float) -> bool:
        """Return whether to ask if the peer is still there; then its answer is expected."""
        quiet = self._limits.keepalive_time
        if self._deadline is not None or quiet is None or now < self.heard + quiet:
            return False
        self._deadline = now + self._limits.keepalive_timeout
        return True

    def should_end(self, now: float, *, busy: bool) -> bool:
        """Return whether the connection has had no calls for too long, or is too old."""
        ends = (self._idle_at(now, busy), self._end)
        return any(end is not None and now >= end for end in ends)

    def pause(self, now: float, *, busy: bool) -> float:
        """Return the seconds until the next look."""
        limits = self._limits
        due = [now + _SELDOM]
        if self._deadline is not None:
            due.append(self._deadline)
        elif limits.keepalive_time is not None:
            due.append(self.heard + limits.keepalive_time)
        # What is over has been told.
        ends = (self._idle_at(now, busy), self._end)
        due += [end for end in ends if end is not None and end > now]
        return max(_OFTEN, min(due) - now)

    def _idle_at(self, now: float, busy: bool) -> float | None:
        if self._idle_timeout is None:
            return None
        return (now if busy else self.used) + self._idle_timeout
