"""Measured of a server of ``benchmarks.accelerated``: times by batch size, and of calls at random.

The latter are an open loop: calls begin when they are due, whatever became of those before, and
the time of each counts from when it was due.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import defaultdict
from typing import Final

import numpy as np

from blazerpc_client import BlazeClient, ResourceExhausted, with_response

#: Calls under way at once, while times are measured by batch size.
CONCURRENCIES: Final = (1, 2, 4, 8, 16, 32, 64)

#: Seconds after an answer, on average, until its caller calls again: else all would come at once.
PAUSE: Final = 0.01

#: Connections of the load.
CONNECTIONS: Final = 4

#: Seconds by batch size.
Samples = defaultdict[int, list[float]]


class Measured:
    """Seconds by batch size: of batches, and of calls besides their batch and their wait.

    Args:
        model: that is called.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._chance = random.Random(0)
        self.service: Samples = defaultdict(list)
        self.overhead: Samples = defaultdict(list)

    async def add(self, target: str, seconds: float) -> None:
        """Call at each concurrency for some seconds, each caller again when it has its answer."""
        async with BlazeClient(target=target) as client:
            await _call(client, self._model)  # connects, warms up
            for concurrency in CONCURRENCIES:
                until = time.perf_counter() + seconds
                await asyncio.gather(*(self._calls(client, until) for _ in range(concurrency)))

    async def _calls(self, client: BlazeClient, until: float) -> None:
        while (start := time.perf_counter()) < until:
            answer = await with_response(_call, client, self._model)
            took = time.perf_counter() - start
            size, compute, queue = answer.batch_size, answer.compute_ms, answer.queue_ms
            assert size is not None
            assert compute is not None
            assert queue is not None
            self.service[size].append(compute / 1000)
            self.overhead[size].append(took - (queue + compute) / 1000)
            await asyncio.sleep(self._chance.expovariate(1 / PAUSE))


async def open_loop(target: str, model: str, rate: float, seconds: float, seed: int) -> list[float]:
    """Return the seconds of each call of a load that comes at random; inf when it is refused.

    Args:
        target: the server.
        model: that is called.
        rate: calls a second, on average.
        seconds: of load.
        seed: of its intervals.
    """
    chance = random.Random(seed)
    times: list[float] = []
    clients = [BlazeClient(target=target) for _ in range(CONNECTIONS)]
    try:
        await asyncio.gather(*(_call(client, model) for client in clients))
        due = start = time.perf_counter()
        async with asyncio.TaskGroup() as calls:
            while (due := due + chance.expovariate(rate)) < start + seconds:
                await asyncio.sleep(due - time.perf_counter())
                calls.create_task(_timed(chance.choice(clients), model, due, times))
    finally:
        for client in clients:
            await client.close()
    return times


async def _timed(client: BlazeClient, model: str, due: float, times: list[float]) -> None:
    try:
        await _call(client, model)
    except ResourceExhausted:
        times.append(math.inf)
    else:
        times.append(time.perf_counter() - due)


_ROW: Final = np.ones((1, 64), np.float32)


async def _call(client: BlazeClient, model: str) -> object:
    return await client.predict(model, x=_ROW)
