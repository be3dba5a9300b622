"""A server process as a discrete-event simulation: Poisson arrivals, our batching, measured times.

When a batch goes is decided by ``blazerpc.runtime.policy``, as in a server; how long it takes, and
what a call costs besides, is drawn from what was measured for batches of its size.
"""

from __future__ import annotations

import bisect
import random
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import simpy

from blazerpc.runtime.policy import BatchPolicy


class Times:
    """Measured seconds by batch size, to draw from; between two sizes, in between.

    Args:
        samples: for each size, at least one.
    """

    def __init__(self, samples: Mapping[int, Sequence[float]]) -> None:
        self._sizes = sorted(samples)
        self._sorted = {size: sorted(samples[size]) for size in self._sizes}

    def draw(self, size: int, part: float) -> float:
        """Return the quantile ``part``, from 0 to 1, for batches of that size."""
        at = bisect.bisect_left(self._sizes, size)
        above = self._sizes[min(at, len(self._sizes) - 1)]
        below = self._sizes[max(at - 1, 0)]
        if above <= size or below >= size:
            return self._quantile(above, part)
        weight = (size - below) / (above - below)
        low, high = self._quantile(below, part), self._quantile(above, part)
        return low + weight * (high - low)

    def mean(self, size: int) -> float:
        """Return the mean for batches of that size."""
        return sum(self.draw(size, (step + 0.5) / 100) for step in range(100)) / 100

    def _quantile(self, size: int, part: float) -> float:
        samples = self._sorted[size]
        return samples[min(int(part * len(samples)), len(samples) - 1)]


@dataclass(frozen=True)
class Process:
    """A server process, as it was measured.

    Attributes:
        service: seconds of a batch.
        overhead: seconds of a call besides its wait and its batch: both ends, and the way.
        max_size: rows in a batch, at most.
        timeout: seconds that a batch waits, at most.
    """

    service: Times
    overhead: Times
    max_size: int
    timeout: float

    @property
    def capacity(self) -> float:
        """Requests a second that full batches, one after the other, serve."""
        return self.max_size / self.service.mean(self.max_size)


@dataclass(frozen=True)
class Latency:
    """Seconds of a call."""

    p50: float
    p99: float

    @classmethod
    def of(cls, times: Sequence[float]) -> Latency:
        """Return those of some calls, at least one."""
        ordered = sorted(times)
        return cls(*(ordered[int(len(ordered) * part)] for part in (0.5, 0.99)))


def simulate(process: Process, rate: float, requests: int, seed: int = 0) -> Latency:
    """Return how long calls take that come at random, ``rate`` a second on average.

    The first tenth, in which the queue fills, is left out.
    """
    environment = simpy.Environment()
    batcher = _Batcher(environment, process, random.Random(seed))
    environment.process(batcher.arrivals(rate, requests))
    environment.run(environment.process(batcher.batches(requests)))
    return Latency.of(batcher.times[requests // 10 :])


class _Batcher:
    """``runtime/batcher.py`` on the simulation's clock, with one batch at a time."""

    def __init__(
        self, environment: simpy.Environment, process: Process, chance: random.Random
    ) -> None:
        self.times: list[float] = []
        self._environment = environment
        self._process = process
        self._chance = chance
        self._policy = BatchPolicy(process.max_size, process.timeout)
        self._waiting: deque[float] = deque()
        self._arrival = environment.event()

    def arrivals(self, rate: float, requests: int) -> Generator[simpy.Event, object, None]:
        """Bring in the requests, at exponential intervals."""
        for _ in range(requests):
            yield self._environment.timeout(self._chance.expovariate(rate))
            self._policy.arrived(self._environment.now)
            self._waiting.append(self._environment.now)
            self._arrival.succeed()
            self._arrival = self._environment.event()

    def batches(self, requests: int) -> Generator[simpy.Event, object, None]:
        """Serve them, until all are."""
        while len(self.times) < requests:
            if not self._waiting:
                yield self._arrival
            wait = self._policy.wait(
                self._environment.now,
                rows=len(self._waiting),
                oldest=self._waiting[0],
                incoming=0,
                running=0,
            )
            if wait > 0:
                yield self._arrival | self._environment.timeout(wait)
            else:
                yield from self._serve()

    def _serve(self) -> Generator[simpy.Event, object, None]:
        size = min(len(self._waiting), self._process.max_size)
        batch = [self._waiting.popleft() for _ in range(size)]
        duration = self._process.service.draw(size, self._chance.random())
        yield self._environment.timeout(duration)
        self._policy.served(self._environment.now, duration, size)
        # What slows one call of a batch down slows the others, too.
        overhead = self._process.overhead.draw(size, self._chance.random())
        self.times += [self._environment.now - arrived + overhead for arrived in batch]


def sustained(process: Process, p99: float, requests: int) -> float:
    """Return the most requests a second whose p99 is within ``p99`` seconds; 0 when none is."""
    low, high = 0.0, process.capacity
    for _ in range(10):
        middle = (low + high) / 2
        if simulate(process, middle, requests).p99 <= p99:
            low = middle
        else:
            high = middle
    return low


def busiest(processes: int, connections: int, seed: int = 0) -> float:
    """Return the load of the busiest process by the mean one, the median of 101 tries.

    Args:
        processes: that serve.
        connections: as busy as each other, each of which stays with a process chosen at random.
        seed: of the tries.
    """
    chance = np.random.default_rng(seed)
    placed = chance.integers(processes, size=(101, connections))
    most = [np.bincount(each).max() for each in placed]
    return float(np.median(most)) * processes / connections
