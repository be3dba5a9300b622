"""How many calls run at one time, and in which order the others wait."""

from __future__ import annotations

import asyncio
import heapq
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from blazerpc.exceptions import DeadlineExceededError, OverloadedError
from blazerpc.runtime.observer import ModelObserver
from blazerpc.runtime.policy import Average, retry_after, urgency

T = TypeVar("T")


@dataclass(order=True, slots=True)
class _Waiting:
    urgency: float
    number: int
    deadline: float | None = field(compare=False)
    turn: asyncio.Future[None] = field(compare=False)


class Slot:
    """The right to run, of one call; it lasts as long as the call's code does, or its caller.

    Code on a thread runs on when its caller is gone, and the limit must hold meanwhile.
    """

    __slots__ = ("_holders", "_left", "_limiter", "_taken")

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._taken = time.monotonic()
        self._left = False
        self._holders = 0

    def hold(self, future: Future[T]) -> None:
        """Keep the slot until ``future`` is done, wherever that happens."""
        loop = asyncio.get_running_loop()
        self._holders += 1

        def done(_: Future[T]) -> None:
            # The thread may outlive the loop.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._dropped)

        future.add_done_callback(done)

    def leave(self) -> None:
        """Give the slot back, now or when nothing holds it any more."""
        self._left = True
        if not self._holders:
            self._limiter.release(time.monotonic() - self._taken)

    def _dropped(self) -> None:
        self._holders -= 1
        if self._left:
            self.leave()


class Limiter:
    """Slots for calls; the most urgent waits least.

    Args:
        limit: slots; None for no bound.
        max_queue_size: calls that wait for a slot, at most.
        what: it is that is limited, for those who are refused.
        observer: is told of the queue.

    Attributes:
        running: slots that are taken.
        waiting: calls that wait for one.
    """

    def __init__(
        self,
        limit: int | None,
        max_queue_size: int,
        what: str,
        observer: ModelObserver | None = None,
    ) -> None:
        self._limit = limit
        self._max_queue_size = max_queue_size
        self._what = what
        self._observer = observer
        self._queue: list[_Waiting] = []
        self._numbers = 0
        self._duration = Average()
        self.running: int = 0
        self.waiting: int = 0

    async def acquire(self, deadline: float | None = None) -> Slot:
        """Return a slot, when it is this call's turn.

        Args:
            deadline: of the call, by ``time.monotonic``.

        Raises:
            OverloadedError: when too many wait already.
            DeadlineExceededError: when its time is over before its turn comes.
        """
        if self._limit is None or (self.running < self._limit and not self.waiting):
            self.running += 1
            return Slot(self)
        if self.waiting >= self._max_queue_size:
            wait = retry_after(self.waiting, self._limit, self._duration.value)
            raise OverloadedError(f"{self._what}: the queue is full", retry_after=wait)
        await self._wait(deadline)
        return Slot(self)

    def release(self, duration: float) -> None:
        """Take back a slot that was held for ``duration`` seconds."""
        self._duration.add(duration)
        self.running -= 1
        if self._queue:
            self._admit()

    async def _wait(self, deadline: float | None) -> None:
        self._numbers += 1
        waiting = _Waiting(
            urgency(time.monotonic(), deadline),
            self._numbers,
            deadline,
            asyncio.get_running_loop().create_future(),
        )
        heapq.heappush(self._queue, waiting)
        self._count_waiting(1)
        try:
            await waiting.turn
        except asyncio.CancelledError:
            if waiting.turn.cancelled():
                self._count_waiting(-1)
                self._forget_the_gone()
            elif waiting.turn.exception() is None:
                self.release(0.0)  # its turn had come, and nobody takes it
            raise

    def _admit(self) -> None:
        assert self._limit is not None or not self._queue
        while self._queue and self._limit is not None and self.running < self._limit:
            waiting = heapq.heappop(self._queue)
            if waiting.turn.done():  # its caller went away
                continue
            self._count_waiting(-1)
            if waiting.deadline is not None and waiting.deadline <= time.monotonic():
                waiting.turn.set_exception(DeadlineExceededError("deadline exceeded in the queue"))
                continue
            self.running += 1
            waiting.turn.set_result(None)

    def _count_waiting(self, by: int) -> None:
        self.waiting += by
        if self._observer is not None:
            self._observer.queue_changed(by)

    def _forget_the_gone(self) -> None:
        """Drop those whose caller went away, before they outnumber those who wait."""
        if len(self._queue) > 2 * self.waiting + 16:
            self._queue = [waiting for waiting in self._queue if not waiting.turn.done()]
            heapq.heapify(self._queue)
