"""Calls that are made all the time, and what is waited for meanwhile."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from blazerpc_client import Unavailable


@dataclass
class Load:
    """The processes that answered, in order, and the calls that were UNAVAILABLE."""

    answers: list[int] = field(default_factory=list)
    failures: int = 0


@asynccontextmanager
async def load(where: Callable[[float], Awaitable[int]]) -> AsyncIterator[Load]:
    """Have twenty callers call all the time; whatever else they get fails the test.

    Args:
        where: takes the seconds that a call lasts, and gives the process that answered.
    """
    found = Load()
    ended = asyncio.Event()

    async def caller() -> None:
        while not ended.is_set():
            try:
                # Of different lengths: at no time have all calls just ended.
                found.answers.append(await where(random.uniform(0.05, 0.3)))
            except Unavailable:
                found.failures += 1

    async with asyncio.TaskGroup() as callers:
        for _ in range(20):
            callers.create_task(caller())
        yield found
        ended.set()


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds that nobody tells of."""
    end = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)
