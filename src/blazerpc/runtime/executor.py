"""Run a model: functions and coroutines, generators and async generators, off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from typing import Final, TypeVar

from grpclib.exceptions import GRPCError

from blazerpc.exceptions import InferenceError
from blazerpc.runtime.registry import ModelInfo
from blazerpc.runtime.threads import DaemonPool
from blazerpc.types import plain_function

T = TypeVar("T")

#: Threads that one model's synchronous code may take.
MAX_THREADS: Final = min(32, (os.cpu_count() or 1) + 4)

_END: Final = object()


class ModelExecutor:
    """Runs one model.

    Synchronous code runs on threads of the model's own, at most ``MAX_THREADS``, with the caller's
    context variables; the event loop goes on. A call that is cancelled gives up the result; its
    function runs to its end.
    """

    def __init__(self, model: ModelInfo) -> None:
        self._model = model
        function = plain_function(model.func)
        self._is_async = inspect.iscoroutinefunction(function)
        self._is_async_generator = inspect.isasyncgenfunction(function)
        self._pool = DaemonPool(MAX_THREADS, f"blazerpc-{model.name}")

    async def execute(self, kwargs: Mapping[str, object]) -> object:
        """Call the model, and return what it returns.

        Raises:
            GRPCError: when the model raised one.
            InferenceError: from whatever else it raised.
        """
        with self._failures():
            if self._is_async:
                result = self._model.func(**kwargs)
            else:
                context = contextvars.copy_context()
                result = await self._in_thread(lambda: context.run(self._model.func, **kwargs))
            return await result if inspect.isawaitable(result) else result

    async def stream(self, kwargs: Mapping[str, object]) -> AsyncGenerator[object, None]:
        """Call the model, and yield what it yields; close this generator to close the model's.

        Raises:
            GRPCError: when the model raised one.
            InferenceError: from whatever else it raised; items before it were yielded.
        """
        if self._is_async_generator:
            with self._failures():
                items = self._model.func(**kwargs)
        else:
            items = await self.execute(kwargs)
        results = (
            self._iterate_async(items)
            if isinstance(items, AsyncIterable)
            else self._iterate_sync(items)
        )
        async with aclosing(results):
            async for result in results:
                yield result

    def close(self) -> None:
        """Let idle threads end; a busy one ends after its call."""
        self._pool.shutdown(wait=False)

    async def _iterate_async(self, items: AsyncIterable[object]) -> AsyncGenerator[object, None]:
        source = aiter(items)
        try:
            while True:
                with self._failures():
                    item = await anext(source, _END)
                if item is _END:
                    return
                yield item
        finally:
            if isinstance(source, AsyncGenerator):
                with self._failures():
                    await source.aclose()

    async def _iterate_sync(self, items: object) -> AsyncGenerator[object, None]:
        with self._failures():
            source = _Items(iter(items))  # type: ignore[call-overload]  # else: raises
        try:
            while (item := await self._in_thread(source.next)) is not _END:
                yield item
        finally:
            # Not awaited: after a cancellation the generator may be in the middle of an item, and
            # only its own thread can say for how long.
            if not source.finished:
                self._pool.submit(source.close)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        def run() -> T:
            # Wrapped here and not where it is awaited: a StopIteration cannot enter a future.
            with self._failures():
                return call()

        return await asyncio.get_running_loop().run_in_executor(self._pool, run)

    def _failures(self) -> AbstractContextManager[None]:
        return _as_inference_errors(self._model.name)


@contextmanager
def _as_inference_errors(model: str) -> Iterator[None]:
    """Raise ``InferenceError`` from all that a model raises, but for a ``GRPCError``."""
    try:
        yield
    except (GRPCError, InferenceError):
        raise
    except BaseException as error:
        if _is_ours(error):
            raise
        text = f"model {model!r} raised {_shown(error)}"
        raise InferenceError(text, model_name=model) from error


def _shown(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:  # its own code prints it
        return type(error).__name__


def _is_ours(error: BaseException) -> bool:
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


class _Items:
    """A synchronous iterator that threads take turns on.

    It runs in one context, as if in one thread: a generator may reset a variable that it has set
    some items before, which is what leaving NumPy's ``errstate`` does.
    """

    def __init__(self, source: Iterator[object]) -> None:
        self._source = source
        self._context = contextvars.copy_context()
        self._lock = threading.Lock()
        self.finished = False

    def next(self) -> object:
        with self._lock:
            item = self._context.run(next, self._source, _END)
            self.finished = item is _END
            return item

    def close(self) -> None:
        with self._lock:
            if inspect.isgenerator(self._source):
                self._context.run(self._source.close)
