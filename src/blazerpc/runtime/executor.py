"""Run a model: functions and coroutines, generators and async generators, off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import traceback
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

from grpclib.exceptions import GRPCError

from blazerpc.exceptions import InferenceError, StartupError
from blazerpc.runtime.handover import END, HandOver
from blazerpc.runtime.limiter import Slot
from blazerpc.runtime.model import Batching, ModelInfo
from blazerpc.runtime.served import served_form
from blazerpc.runtime.threads import DaemonPool
from blazerpc.types import plain_function

T = TypeVar("T")

log: logging.Logger = logging.getLogger("blazerpc")

#: Threads that one model's synchronous code may take, unless ``max_concurrency`` says.
MAX_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)


class ModelExecutor:
    """Runs one model.

    Synchronous code runs on threads of the model's own, at most ``concurrency`` or
    ``MAX_THREADS``, with the caller's context variables; the event loop goes on. A call that is
    cancelled gives up the result; its function runs to its end. The call waits for that end, or for
    ``close``, when it has dependencies that are closed after it.

    Attributes:
        asynchronous: whether the model's code runs on the event loop.
        concurrency: calls of the model's code at one time; None for any number.
    """

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        function = plain_function(model.func)
        self._is_async = inspect.iscoroutinefunction(function)
        # To call a generator function runs none of its code.
        self._is_generator = inspect.isgeneratorfunction(function)
        self._is_async_generator = inspect.isasyncgenfunction(function)
        self.asynchronous: bool = self._is_async or self._is_async_generator
        self.concurrency: int | None = concurrency(model)
        self._call: Callable[..., Any] = model.func if model.factory is None else _not_built
        self._instance: object = None
        self._busy: set[Future[Any]] = set()
        # What a thread still uses must not be closed: such a call ends when its code does.
        self._stays = model.injected.closed_after_call
        self._left: set[asyncio.Event] | None = set()
        self._failures = _Failures(model.name)
        # A call that was left runs on: it is the threads that keep others from running beside it.
        self._pool = DaemonPool(self.concurrency or MAX_THREADS, f"blazerpc-{model.name}")

    async def start(self) -> None:
        """Check that the model can work; build the model of a class, and warm it up.

        Raises:
            StartupError: when it cannot, or its code raises.
        """
        if self._model.check is not None:
            with _startup(f"model {self._model.name!r}: starting"):
                await self.in_thread(self._model.check)
        if self._model.factory is None:
            return
        name = self._model.factory.__name__
        with _startup(f"model {self._model.name!r}: {name}()"):
            self._instance = await self.in_thread(self._model.factory)
        assert callable(self._instance)
        self._call = served_form(self._instance)
        with _startup(f"model {self._model.name!r}: {name}.warmup()"):
            await self._hook("warmup")

    async def close(self) -> None:
        """Close the model of a class, and let idle threads end; a busy one ends after its call."""
        try:
            if self._instance is not None:
                if self._busy:  # a thread may still use what is closed
                    await asyncio.wait([asyncio.wrap_future(call) for call in self._busy])
                await self._hook("close")
        except Exception:
            log.exception("closing model %r failed", self._model.name)
        left, self._left = self._left, None
        for ended in left or ():
            ended.set()
        self._pool.shutdown(wait=False)

    async def execute(self, kwargs: Mapping[str, object], slot: Slot | None = None) -> object:
        """Call the model, and return what it returns.

        Args:
            kwargs: of the function.
            slot: kept for as long as the function runs, whatever becomes of this call.

        Raises:
            GRPCError: when the model raised one.
            InferenceError: from whatever else it raised.
        """
        with self._failures:
            if self._is_async:
                return await self._call(**kwargs)
            context = contextvars.copy_context()
            result = await self.in_thread(partial(context.run, self._call, **kwargs), slot)
            return await result if inspect.isawaitable(result) else result

    async def stream(
        self, kwargs: Mapping[str, object], slot: Slot | None = None
    ) -> AsyncGenerator[object, None]:
        """Call the model, and return what yields its results; close that to close the model's.

        Args:
            kwargs: of the function.
            slot: kept for as long as the generator runs, whatever becomes of this call.

        Raises:
            GRPCError: when the model raised one.
            InferenceError: from whatever else it raised, here or between results.
        """
        if self._is_generator or self._is_async_generator:
            with self.failures():
                items = self._call(**kwargs)
        else:
            items = await self.execute(kwargs, slot)
        if isinstance(items, AsyncIterable):
            return self._iterate_async(items)
        return self._iterate_sync(items, slot)

    async def in_thread(self, call: Callable[[], T], slot: Slot | None = None) -> T:
        """Return what ``call`` returns on one of the model's threads; the slot as in ``execute``.

        Raises:
            GRPCError: when it raised one.
            InferenceError: from whatever else it raised.
        """

        def run() -> T:
            # Wrapped here and not where it is awaited: a StopIteration cannot enter a future.
            with self.failures():
                return call()

        future: Future[T] = self._pool.submit(run)
        self._busy.add(future)
        future.add_done_callback(self._busy.discard)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            await self._leave(future, slot)
            raise

    async def _leave(self, work: Future[T], slot: Slot | None) -> None:
        """Leave a thread alone with its work, which keeps the slot; stay with it if need be."""
        if work.done():
            return
        if slot is not None:
            slot.hold(work)
        if not self._stays or self._left is None:
            return
        ended = asyncio.Event()
        self._left.add(ended)
        work.add_done_callback(partial(_tell, asyncio.get_running_loop(), ended))
        while not ended.is_set():
            with suppress(asyncio.CancelledError):  # once more, when the connection ends
                await ended.wait()
        if self._left is not None:
            self._left.discard(ended)

    async def _hook(self, name: str) -> None:
        """Call an optional method of the model's."""
        method: Callable[[], object] | None = getattr(self._instance, name, None)
        if method is None:
            return
        if inspect.iscoroutinefunction(method):
            await method()
        else:
            await self.in_thread(method)

    async def _iterate_async(self, items: AsyncIterable[object]) -> AsyncGenerator[object, None]:
        with self._failures:
            source = aiter(items)
            try:
                async for item in source:
                    yield item
            finally:
                if isinstance(source, AsyncGenerator):
                    await source.aclose()

    async def _iterate_sync(self, items: object, slot: Slot | None) -> AsyncGenerator[object, None]:
        with self.failures():
            source = iter(items)  # type: ignore[call-overload]  # else: raises
        handover = HandOver(source, self._pool, self.failures)
        try:
            while (item := await handover.take()) is not END:
                yield item
        finally:
            # After a cancellation the generator may be in the middle of an item, and only its own
            # thread can say for how long.
            handover.close()
            if handover.job is not None:
                await self._leave(handover.job, slot)

    def failures(self) -> AbstractContextManager[None]:
        """Raise ``InferenceError`` from all that the model's code raises, but for ``GRPCError``."""
        return self._failures


def concurrency(model: ModelInfo) -> int | None:
    """Return how many calls of a model's code run at one time; None for any number."""
    if model.options.max_concurrency is not None:
        return model.options.max_concurrency
    if model.batching is not Batching.NONE:
        return 1
    # A stream takes a thread only while it makes items.
    unbounded = model.streaming or inspect.iscoroutinefunction(plain_function(model.func))
    return None if unbounded else MAX_THREADS


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event, _: Future[T]) -> None:
    with suppress(RuntimeError):  # the thread may outlive the loop
        loop.call_soon_threadsafe(event.set)


def _not_built(**kwargs: object) -> object:
    raise InferenceError("the model has not been built; the server builds it when it starts")


@contextmanager
def _startup(what: str) -> Iterator[None]:
    """Raise ``StartupError`` from whatever a start-up raises."""
    try:
        yield
    except BaseException as error:
        if is_ours(error):
            raise
        cause = error.__cause__ if isinstance(error, InferenceError) else error
        raise StartupError(f"{what} failed: {described(cause or error)}") from cause


def described(error: BaseException) -> str:
    """Return type, text and place of what somebody's code raised, in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return " ".join(f"{type(error).__name__}: {error}{where}".split())


class _Failures(AbstractContextManager[None]):
    """Raises ``InferenceError`` from all that a model raises, but for a ``GRPCError``.

    It has no state: each model has one, for all of its calls at once.
    """

    def __init__(self, model: str) -> None:
        self._model = model

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, GRPCError | InferenceError) or is_ours(error):
            return
        text = f"model {self._model!r} raised {_shown(error)}"
        raise InferenceError(text, model_name=self._model) from error


def _shown(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # its own code prints it
        return type(error).__name__


def is_ours(error: BaseException) -> bool:
    """Return whether ``error`` is meant for the task or the process, and not the model's failure.

    A model that calls ``sys.exit()``, or awaits something that was cancelled, fails its call; it
    must not take the server along, nor leave its caller without an answer.
    """
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread of the pool: signals and cancellations go elsewhere
        return False
    if isinstance(error, asyncio.CancelledError):
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | GeneratorExit)
