"""Collect single requests into batches, call once a batch, hand each request its own result."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from blazerpc.config import ExecutionOptions
from blazerpc.exceptions import DeadlineExceededError, InferenceError, OverloadedError
from blazerpc.runtime.observer import Begun, ModelObserver, Timing
from blazerpc.runtime.policy import BatchPolicy, retry_after, urgency

S = TypeVar("S")
R = TypeVar("R")

_UNOBSERVED: Final = nullcontext()

#: Serves one batch: a result, or the exception that only this request gets, for each request.
BatchFunction = Callable[[list[S]], Awaitable[Sequence[R | Exception]]]


@dataclass(eq=False, slots=True)
class _Waiting(Generic[S, R]):
    request: S
    rows: int
    group: Hashable
    deadline: float | None
    timing: Timing
    future: asyncio.Future[R]
    context: contextvars.Context
    arrived: float = field(default_factory=time.monotonic)

    @property
    def urgency(self) -> float:
        return urgency(self.arrived, self.deadline)


class _Group(Generic[S, R]):
    """Requests that can be in one batch, in the order of their arrival."""

    def __init__(self) -> None:
        # A dict for its order: a request in the middle is taken out at no cost.
        self.waiting: dict[_Waiting[S, R], None] = {}
        self.rows: int = 0

    def add(self, waiting: _Waiting[S, R]) -> None:
        self.waiting[waiting] = None
        self.rows += waiting.rows

    def discard(self, waiting: _Waiting[S, R]) -> None:
        if waiting in self.waiting:
            del self.waiting[waiting]
            self.rows -= waiting.rows

    def take(self, max_rows: int) -> list[_Waiting[S, R]]:
        """Take out the next batch: all, or the most urgent when there are too many rows."""
        candidates = list(self.waiting)
        if self.rows > max_rows:
            candidates.sort(key=lambda waiting: waiting.urgency)
        batch: list[_Waiting[S, R]] = []
        rows = 0
        for waiting in candidates:
            if batch and rows + waiting.rows > max_rows:
                break
            batch.append(waiting)
            rows += waiting.rows
            self.discard(waiting)
        return batch


class Batcher(Generic[S, R]):
    """Batches the requests of one model.

    A batch goes when it is full, when ``timeout_ms`` is over, or when waiting cannot help, which
    ``BatchPolicy`` decides. While one batch is served, the next one collects. Requests whose
    caller went away, or whose deadline passed, are not served.

    Two failure models: when the batch function raises, every request of the batch gets that
    exception; when it returns an exception at an index, only the request of that index does.

    Args:
        max_size: rows in a batch, at most; a request with more runs alone.
        timeout_ms: milliseconds that a batch waits after its first request, at most.
        max_queue_size: requests that wait, at most, besides those of the batch that collects while
            nothing is served.
        max_concurrency: batches that are served at one time.
        abandon: whether a batch is cancelled once nobody waits for it. Not for functions whose
            code runs on after a cancellation: their slot would be free too early.
        what: it is that is batched, for those who are refused.
        observer: is told of the queue and the batches.

    Raises:
        ConfigurationError: for a number out of its bounds.
    """

    def __init__(
        self,
        max_size: int = 32,
        timeout_ms: float = 10.0,
        *,
        max_queue_size: int = 1000,
        max_concurrency: int = 1,
        abandon: bool = False,
        what: str = "the batcher",
        observer: ModelObserver | None = None,
    ) -> None:
        options = ExecutionOptions(
            max_batch_size=max_size,
            batch_timeout_ms=timeout_ms,
            max_queue_size=max_queue_size,
            max_concurrency=max_concurrency,
        )
        self._policy = BatchPolicy(options.max_batch_size, options.batch_timeout_ms / 1000)
        self._max_queue_size = max_queue_size
        self._max_concurrency = max_concurrency
        self._abandon = abandon
        self._what = what
        self._observer = observer
        self._function: BatchFunction[S, R] | None = None
        self._accepting = False
        self._groups: dict[Hashable, _Group[S, R]] = {}
        self._queued = 0
        self._incoming: dict[object, float] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._looking = False
        self._context = contextvars.copy_context()

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return self._queued

    @property
    def running(self) -> int:
        """Batches that are being served."""
        return len(self._running)

    async def start(self, function: BatchFunction[S, R]) -> None:
        """Serve batches with ``function`` until ``stop``.

        Raises:
            RuntimeError: when it is started already.
        """
        if self._accepting:
            raise RuntimeError("the batcher is started already")
        self._function = function
        self._accepting = True

    async def stop(self) -> None:
        """Serve what was submitted, then end; nothing is taken any more."""
        self._accepting = False
        while self._queued or self._running:
            self._dispatch(hurry=True)
            if self._running:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    @contextmanager
    def incoming(self) -> Iterator[None]:
        """Tell of a request whose message is still on its way: a batch may wait for it."""
        token = object()
        self._incoming[token] = time.monotonic()
        try:
            yield
        finally:
            del self._incoming[token]
            if self._queued:
                self._look_soon()

    async def submit(
        self,
        request: S,
        *,
        rows: int = 1,
        group: Hashable = None,
        deadline: float | None = None,
        timing: Timing | None = None,
    ) -> R:
        """Wait for the result of ``request``.

        Args:
            request: for the batch function.
            rows: that it adds to a batch.
            group: requests of different groups are never in one batch.
            deadline: of its caller, by ``time.monotonic``.
            timing: is filled.

        Raises:
            RuntimeError: when the batcher does not run.
            OverloadedError: when too many wait already.
            DeadlineExceededError: when the deadline passes before the batch begins.
            Exception: that the batch function raised, or returned for this request.
        """
        if not self._accepting:
            raise RuntimeError("the batcher is not running")
        self._refuse_when_full()
        waiting = _Waiting[S, R](
            request,
            rows,
            group,
            deadline,
            timing or Timing(),
            asyncio.get_running_loop().create_future(),
            contextvars.copy_context(),
        )
        self._policy.arrived(waiting.arrived)
        self._groups.setdefault(group, _Group()).add(waiting)
        self._count_queued(1)
        self._look_soon()
        try:
            return await waiting.future
        finally:
            if not waiting.future.done() or waiting.future.cancelled():
                self._forget(waiting)

    def _refuse_when_full(self) -> None:
        # Those that can go as soon as the loop has turned do not wait.
        idle = (self._max_concurrency - len(self._running)) * self._policy.max_size
        if self._queued >= self._max_queue_size + idle:
            batches = self._policy.max_size * self._max_concurrency
            wait = retry_after(self._queued, batches, self._policy.duration.value)
            raise OverloadedError(f"{self._what}: the queue is full", retry_after=wait)

    def _count_queued(self, by: int) -> None:
        self._queued += by
        if self._observer is not None:
            self._observer.queue_changed(by)

    def _look_soon(self) -> None:
        """Look whether a batch can go, once the requests that have come with this one are here."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self, *, hurry: bool = False) -> None:
        """Begin every batch that need not wait, and look again when the next one must not."""
        self._looking = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queued and len(self._running) < self._max_concurrency:
            waits = {group: 0.0 if hurry else self._wait(group) for group in self._groups.values()}
            wait = min(waits.values())
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self._dispatch)
                return
            self._begin(self._taken(_most_urgent(group for group in waits if waits[group] == 0)))

    def _wait(self, group: _Group[S, R]) -> float:
        now = time.monotonic()
        # One that has begun and does not go on must not keep others waiting again and again.
        recent = now - self._policy.timeout
        incoming = sum(begun > recent for begun in self._incoming.values())
        return self._policy.wait(
            now,
            rows=group.rows,
            oldest=next(iter(group.waiting)).arrived,
            incoming=incoming,
            running=len(self._running),
        )

    def _taken(self, group: _Group[S, R]) -> list[_Waiting[S, R]]:
        """Take the next batch of a group, without those whose time is over."""
        batch = group.take(self._policy.max_size)
        self._count_queued(-len(batch))
        if not group.waiting:
            del self._groups[batch[0].group]
        now = time.monotonic()
        served = []
        for waiting in batch:
            if waiting.future.done():  # its caller went away in this turn of the loop
                continue
            if waiting.deadline is not None and waiting.deadline <= now:
                error = DeadlineExceededError("deadline exceeded in the queue")
                waiting.future.set_exception(error)
                continue
            served.append(waiting)
        return served

    def _begin(self, batch: list[_Waiting[S, R]]) -> None:
        if not batch:
            return
        # A lone request runs in the context of its caller; a batch is nobody's in particular.
        context = batch[0].context if len(batch) == 1 else self._context.copy()
        task = asyncio.get_running_loop().create_task(self._serve(batch), context=context)
        self._running.add(task)
        task.add_done_callback(self._ended)
        if self._abandon:
            self._abandon_when_alone(task, batch)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._dispatch()

    @staticmethod
    def _abandon_when_alone(task: asyncio.Task[None], batch: list[_Waiting[S, R]]) -> None:
        def gone(_: asyncio.Future[R]) -> None:
            if all(waiting.future.cancelled() for waiting in batch):
                task.cancel()

        for waiting in batch:
            waiting.future.add_done_callback(gone)

    def _forget(self, waiting: _Waiting[S, R]) -> None:
        """Take a request whose caller went away out of the queue."""
        group = self._groups.get(waiting.group)
        if group is None or waiting not in group.waiting:
            return
        group.discard(waiting)
        self._count_queued(-1)
        if not group.waiting:
            del self._groups[waiting.group]

    async def _serve(self, batch: list[_Waiting[S, R]]) -> None:
        assert self._function is not None
        begun = time.monotonic()
        size = sum(waiting.rows for waiting in batch)
        for waiting in batch:
            waiting.timing.queue = begun - waiting.arrived
        results: Sequence[R | Exception]
        try:
            with self._observed(batch, size):
                results = await self._function([waiting.request for waiting in batch])
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
        now = time.monotonic()
        self._policy.served(now, now - begun, len(batch))
        for waiting, result in zip(batch, results, strict=True):
            waiting.timing.compute = now - begun
            waiting.timing.batch_size = size
            _settle(waiting.future, result)

    def _observed(self, batch: list[_Waiting[S, R]], size: int) -> AbstractContextManager[None]:
        if self._observer is None:
            return _UNOBSERVED
        begun = [Begun(waiting.arrived, waiting.context) for waiting in batch]
        return self._observer.running(begun, size)


def _most_urgent(groups: Iterable[_Group[S, R]]) -> _Group[S, R]:
    first, *others = groups
    if not others:
        return first
    return min([first, *others], key=lambda g: min(waiting.urgency for waiting in g.waiting))


def _settle(future: asyncio.Future[R], result: R | Exception) -> None:
    if future.done():  # its caller went away: the result is dropped
        return
    if isinstance(result, StopIteration):  # a future takes none
        result = InferenceError(f"the model raised {result!r}")
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def _cancelled() -> bool:
    """Return whether it is this task that was cancelled, and not something it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
