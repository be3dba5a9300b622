"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

#: Failures after which the wait grows no more, so that its power stays a number.
_STEPS: Final = 64


def check_number(name: str, value: float, low: float, high: float) -> None:
    """Check an option that is a number.

    Raises:
        ValueError: naming the option and its bounds.
    """
    given: object = value
    if isinstance(given, bool) or not isinstance(given, int | float) or not low <= given <= high:
        raise ValueError(f"{name} is {value!r}; it must be {low:g} to {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that grow with each failure in a row; times are seconds.

    The defaults are gRPC's for connections:
    https://github.com/grpc/grpc/blob/master/doc/connection-backoff.md

    Attributes:
        initial: after the first failure.
        multiplier: of the wait, for each further one.
        maximum: of the wait, before jitter.
        jitter: share of a wait by which it is longer or shorter at random, so that clients that
            lost one server do not all come back at once.

    Raises:
        ValueError: naming the option and its bounds.
    """

    initial: float = 1.0
    multiplier: float = 1.6
    maximum: float = 120.0
    jitter: float = 0.2

    def __post_init__(self) -> None:
        check_number("initial", self.initial, 0.001, 3600)
        check_number("multiplier", self.multiplier, 1, 100)
        check_number("maximum", self.maximum, 0.001, 3600)
        check_number("jitter", self.jitter, 0, 1)

    def wait(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row, at least one."""
        grown = self.initial * self.multiplier ** min(failures - 1, _STEPS)
        share = random.uniform(-self.jitter, self.jitter)  # noqa: S311 - it keeps no secret
        return min(grown, self.maximum) * (1 + share)
