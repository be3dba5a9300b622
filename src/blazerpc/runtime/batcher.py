"""Collect single requests into batches, call once a batch, hand each request its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from blazerpc.exceptions import ConfigurationError, InferenceError

S = TypeVar("S")
R = TypeVar("R")

#: Serves one batch: a result, or the exception that only this request gets, for each request.
BatchFunction = Callable[[list[S]], Awaitable[Sequence[R | Exception]]]


@dataclass(slots=True)
class _Waiting(Generic[S, R]):
    request: S
    future: asyncio.Future[R]


class Batcher(Generic[S, R]):
    """Batches the requests of one model.

    A batch goes when it is full, or ``timeout_ms`` after its first request came.

    Two failure models: when the batch function raises, every request of the batch gets that
    exception; when it returns an exception at an index, only the request of that index does.

    Args:
        max_size: requests in a batch, at most.
        timeout_ms: milliseconds that the first request of a batch waits for others.

    Raises:
        ConfigurationError: for a size below 1 or a negative time.
    """

    def __init__(self, max_size: int = 32, timeout_ms: float = 10.0) -> None:
        if max_size < 1:
            raise ConfigurationError(f"max_size is {max_size}; it must be at least 1")
        if not timeout_ms >= 0:
            raise ConfigurationError(f"timeout_ms is {timeout_ms}; it must not be negative")
        self._max_size = max_size
        self._timeout = timeout_ms / 1000
        self._queue: asyncio.Queue[_Waiting[S, R] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self, function: BatchFunction[S, R]) -> None:
        """Serve batches with ``function`` until ``stop``.

        Raises:
            RuntimeError: when it is started already.
        """
        if self._task is not None:
            raise RuntimeError("the batcher is started already")
        self._task = asyncio.create_task(self._run(function))

    async def submit(self, request: S) -> R:
        """Wait for the result of ``request``.

        Raises:
            RuntimeError: when the batcher does not run.
            Exception: that the batch function raised, or returned for this request.
        """
        if self._task is None:
            raise RuntimeError("the batcher is not running")
        waiting = _Waiting[S, R](request, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        return await waiting.future

    async def stop(self) -> None:
        """Serve what was submitted, then end."""
        task, self._task = self._task, None
        if task is not None:
            self._queue.put_nowait(None)
            await task

    async def _run(self, function: BatchFunction[S, R]) -> None:
        running = True
        while running:
            batch, running = await self._collect()
            # A caller that went away while it waited is not served.
            batch = [waiting for waiting in batch if not waiting.future.done()]
            if batch:
                await self._serve(batch, function)

    async def _collect(self) -> tuple[list[_Waiting[S, R]], bool]:
        """Return the next batch, and whether there will be another."""
        batch: list[_Waiting[S, R]] = []
        first = await self._queue.get()
        if first is None:
            return batch, False
        batch.append(first)
        try:
            async with asyncio.timeout(self._timeout):
                while len(batch) < self._max_size:
                    waiting = await self._queue.get()
                    if waiting is None:
                        return batch, False
                    batch.append(waiting)
        except TimeoutError:
            pass
        return batch, True

    async def _serve(self, batch: list[_Waiting[S, R]], function: BatchFunction[S, R]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await function([waiting.request for waiting in batch])
            if len(results) != len(batch):
                raise InferenceError(f"{len(results)} results for a batch of {len(batch)} requests")
        except asyncio.CancelledError as error:
            if _cancelled():
                raise
            results = [InferenceError(f"what the batch waited for was cancelled: {error}")] * len(
                batch
            )
        except Exception as error:
            results = [error] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, StopIteration):  # a future takes none
                result = InferenceError(f"the model raised {result!r}")
            if isinstance(result, Exception):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)


def _cancelled() -> bool:
    """Return whether it is this task that was cancelled, and not something it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
