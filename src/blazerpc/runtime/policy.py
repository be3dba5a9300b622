"""When a batch goes, and what goes first: arithmetic alone, with the time passed in.

Times are seconds of one clock that only goes forward.
"""

from __future__ import annotations

from typing import Final

#: Seconds after its arrival at which a request without a deadline is as urgent as one whose
#: deadline has come: it is never overtaken for longer.
PATIENCE: Final = 30.0

#: Part of a batch's running time that is worth waiting for the callers of the one before it.
_RETURN: Final = 0.25

#: Times the mean time between two requests after which no more are expected.
_GAPS: Final = 4

#: Seconds that are not worth a timer.
_TICK: Final = 1e-6

#: Seconds that a call is taken to last before one has ended.
_UNKNOWN: Final = 0.1

#: Bounds of what a refused caller is told to wait, in seconds.
_MIN_RETRY, _MAX_RETRY = 0.001, 60.0


def urgency(arrived: float, deadline: float | None) -> float:
    """Return when a request has to be served; the least is the most urgent."""
    patience = arrived + PATIENCE
    return patience if deadline is None else min(deadline, patience)


class Average:
    """A mean in which what is recent counts most.

    Args:
        weight: of a new value, from 0 to 1.
    """

    def __init__(self, weight: float = 0.2) -> None:
        self._weight = weight
        self.value: float | None = None

    def add(self, value: float) -> None:
        """Take a new value in."""
        if self.value is None:
            self.value = value
        else:
            self.value += self._weight * (value - self.value)


def retry_after(waiting: int, served_at_once: int, duration: float | None) -> float:
    """Return the seconds after which a queue has room again, as far as one can tell.

    Args:
        waiting: requests in the queue.
        served_at_once: requests that are served together or side by side.
        duration: seconds that it takes; None when none has been served yet.
    """
    turns = waiting / served_at_once + 1
    wait = turns * (_UNKNOWN if duration is None else duration)
    return min(max(wait, _MIN_RETRY), _MAX_RETRY)


class BatchPolicy:
    """Tells how long a batch should still wait for others.

    Waiting costs those who are in the batch, so it has to promise company:
    - Requests whose headers have come and whose message has not are on their way.
    - Callers that just got their results often call again at once. After a batch of several, the
      next one waits for as many, for a part of the time that a batch takes: else the first of them
      to return would have a batch of its own, and the others would wait for that.
    - While other batches run (``max_concurrency`` above 1), requests come at the rate observed.
    Otherwise every request in flight is in the batch, and the batch goes.

    Args:
        max_size: rows in a batch, at most.
        timeout: seconds that a batch waits after its first request, at most.
    """

    def __init__(self, max_size: int, timeout: float) -> None:
        self.max_size: int = max_size
        self.timeout: float = timeout
        self.duration: Average = Average()
        self._gap = Average()
        self._last_arrival: float | None = None
        self._returning = 0
        self._return_until = 0.0

    def arrived(self, now: float) -> None:
        """Take note that a request has come."""
        if self._last_arrival is not None:
            self._gap.add(now - self._last_arrival)
        self._last_arrival = now
        self._returning = max(0, self._returning - 1)

    def served(self, now: float, duration: float, requests: int) -> None:
        """Take note that a batch of ``requests`` has its results after ``duration`` seconds."""
        self.duration.add(duration)
        self._returning = requests
        self._return_until = now + min(self.timeout, _RETURN * duration)

    def wait(self, now: float, *, rows: int, oldest: float, incoming: int, running: int) -> float:
        """Return the seconds that the next batch should wait; 0 when it should go now.

        Args:
            now: the time.
            rows: that would be in it.
            oldest: when its first request came.
            incoming: requests that have begun to arrive.
            running: batches that are being served.
        """
        left = oldest + self.timeout - now
        if rows >= self.max_size or left <= 0:
            return 0.0
        if incoming:
            return left
        if self._returning and now < self._return_until:
            return min(left, self._return_until - now)
        if running and self._gap.value is not None and self._last_arrival is not None:
            # Who has not come for several times that long has stopped coming.
            coming = self._last_arrival + _GAPS * self._gap.value - now
            hopeful = coming > _TICK and self._gap.value < left
            return min(left, coming) if hopeful else 0.0
        return 0.0
