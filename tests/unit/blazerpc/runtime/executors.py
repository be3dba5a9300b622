"""What models in tests of executors signal, see and raise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

from blazerpc.runtime import ModelExecutor
from tests.unit.blazerpc.support import PATIENCE

Execute = Callable[..., ModelExecutor]

caller: ContextVar[str] = ContextVar("caller", default="nobody")


class Signal:
    """An event that a thread sets, and the loop waits for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def set(self) -> None:
        self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._event.wait()


#: What a model may raise in a thread and on the loop.
ERRORS: list[BaseException] = [
    ValueError("bad"),
    StopIteration(3),
    SystemExit(3),
    asyncio.CancelledError(),
    TimeoutError(),
]
