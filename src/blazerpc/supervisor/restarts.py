"""When a worker that crashed is started again, and when no more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How often one worker may crash.

    Attributes:
        first_delay: seconds from a crash to the next start; each further crash within the window
            doubles it.
        max_crashes: within the window; the last of them is one too many.
        window: seconds after which a crash is forgotten.
    """

    first_delay: float = 0.2
    max_crashes: int = 5
    window: float = 60.0


class Restarts:
    """The crashes of one worker; whoever asks passes the time, of any clock that only rises."""

    def __init__(self, policy: RestartPolicy) -> None:
        self.policy = policy
        self._crashes: deque[float] = deque()

    def crashed(self, now: float) -> float | None:
        """Note a crash; return the seconds until the next start, or None for never again."""
        while self._crashes and now - self._crashes[0] >= self.policy.window:
            self._crashes.popleft()
        self._crashes.append(now)
        if len(self._crashes) >= self.policy.max_crashes:
            return None
        return self.policy.first_delay * 2.0 ** (len(self._crashes) - 1)

    def forget(self) -> None:
        """Begin anew, as with another program."""
        self._crashes.clear()
