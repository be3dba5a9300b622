"""Calls for a while, so many at once, and what they cost this process."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence

#: Makes one call.
Call = Callable[[], Awaitable[object]]


def arguments() -> argparse.ArgumentParser:
    """Return the arguments that every client program has."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target", help="the server's HOST:PORT")
    parser.add_argument("--concurrency", type=int, required=True, help="calls under way at once")
    parser.add_argument("--seconds", type=float, required=True)
    return parser


async def pace(calls: Sequence[Call], concurrency: int, seconds: float) -> None:
    """Make calls, and print how many ended, in which time, and their median in seconds.

    Args:
        calls: one for each connection; each has ``concurrency`` calls under way.
        concurrency: at once on each connection.
        seconds: after which no call is begun.
    """
    await asyncio.gather(*(call() for call in calls for _ in range(concurrency)))  # connects
    times: list[float] = []
    start, cpu = time.perf_counter(), time.process_time()

    async def work(call: Call) -> None:
        now = time.perf_counter()
        while now - start < seconds:
            before = now
            await call()
            now = time.perf_counter()
            times.append(now - before)

    await asyncio.gather(*(work(call) for call in calls for _ in range(concurrency)))
    took, cost = time.perf_counter() - start, time.process_time() - cpu
    found = {
        "calls": len(times),
        "seconds": took,
        "cpu_seconds": cost,
        "p50": statistics.median(times),
    }
    print(json.dumps(found))
