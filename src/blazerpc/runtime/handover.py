"""From a synchronous iterator on threads to the event loop, never far ahead of who takes."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from typing import Any, Final

from blazerpc.runtime.threads import DaemonPool

#: Items that are made before anybody takes them, at most.
AHEAD: Final = 8

#: Stands for the end of the items.
END: Final = object()


class HandOver:
    """The items of a synchronous iterator, made on the threads of a pool.

    A thread makes items until ``AHEAD`` wait, and is free then: a slow taker slows the iterator and
    keeps no thread. While others wait for a thread, it goes on to the next after each item.

    The iterator runs in one context, as if in one thread: a generator may reset a variable that it
    has set some items before, which is what leaving NumPy's ``errstate`` does.

    Args:
        source: the iterator.
        pool: that it runs on, one thread at a time.
        failures: what it raises is raised through this, on its thread.
    """

    def __init__(
        self,
        source: Iterator[object],
        pool: DaemonPool,
        failures: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._source = source
        self._pool = pool
        self._failures = failures
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        # All that follows is changed under the lock.
        self._items: deque[object] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._making = False
        self._ended = False
        self._closed = False
        self._error: Exception | None = None
        #: What the iterator's code runs in now, or ran in last.
        self.job: Future[None] | None = None

    async def take(self) -> object:
        """Return the next item, or ``END``.

        Raises:
            Exception: that the iterator raised; the items before it were taken.
        """
        while True:
            with self._lock:
                item = self._items.popleft() if self._items else END
                if not self._ended and not self._making and len(self._items) <= AHEAD // 2:
                    self._make()
                if item is not END:
                    return item
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return END
                self._waiter = self._loop.create_future()
            await self._waiter

    def close(self) -> None:
        """Close a generator once it has made the item that it is at; ``job`` is done then."""
        with self._lock:
            self._closed = True
            if not self._ended and not self._making:
                self._make()

    def _make(self) -> None:
        try:
            self.job = self._pool.submit(self._run)
        except RuntimeError as error:  # the pool is shut down
            self._finish(error)
        else:
            self._making = True

    def _run(self) -> None:
        while True:
            with self._lock:
                if self._closed:
                    break
            try:
                with self._failures():
                    item = self._context.run(next, self._source, END)
            except Exception as error:
                self._end(error)
                return
            if item is END:
                self._end(None)
                return
            with self._lock:
                self._items.append(item)
                self._wake()
                if self._pauses():
                    return
        if inspect.isgenerator(self._source):
            with suppress(BaseException):  # its own, and nobody is there to be told
                self._context.run(self._source.close)
        self._end(None)

    def _pauses(self) -> bool:
        """Return whether the thread has better things to do."""
        if self._closed:
            return False  # but for closing the generator
        if len(self._items) >= AHEAD:
            self._making = False
        elif self._pool.crowded:
            self._make()  # behind those who wait
        else:
            return False
        return True

    def _end(self, error: Exception | None) -> None:
        with self._lock:
            self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        self._making = False
        self._ended = True
        self._error = error
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            with suppress(RuntimeError):  # the loop has ended before the iterator
                self._loop.call_soon_threadsafe(_resolve, waiter)


def _resolve(waiter: asyncio.Future[Any]) -> None:
    if not waiter.done():
        waiter.set_result(None)
