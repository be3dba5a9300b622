"""Make what a model depends on before its call, and close it afterwards."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from functools import partial
from types import TracebackType
from typing import Any

from blazerpc.context import Context
from blazerpc.runtime.executor import ModelExecutor
from blazerpc.runtime.inspection import takes_context
from blazerpc.runtime.model import Injected
from blazerpc.types import plain_function


class Dependencies:
    """The injected parameters of one model.

    Args:
        injected: which there are.
        executor: on whose threads synchronous functions run.

    Attributes:
        need_context: whether a call needs a ``Context``.
    """

    def __init__(self, injected: Injected, executor: ModelExecutor) -> None:
        self._context = injected.context
        functions = [dependency.fn for dependency in injected.dependencies.values()]
        # By comparison: a bound method is another object each time it is written.
        self._functions = [
            (name, functions[functions.index(dependency.fn)], takes_context(dependency))
            for name, dependency in injected.dependencies.items()
        ]
        self._executor = executor
        takes = any(takes for _, _, takes in self._functions)
        self.need_context: bool = bool(self._context) or takes

    def __bool__(self) -> bool:
        return bool(self._context or self._functions)

    @asynccontextmanager
    async def provided(self, context: Context | None) -> AsyncIterator[dict[str, object]]:
        """Give the injected arguments of one call; close them when it has ended.

        A function that several parameters depend on is called once. One that yields sees what the
        call raises, and cannot undo it.

        Args:
            context: of the call; only needed when ``need_context`` says so.

        Raises:
            GRPCError: when a function raised one.
            InferenceError: from whatever else it raised.
        """
        with self._executor.failures():
            async with AsyncExitStack() as stack:
                yield await self._made(context, stack)

    async def _made(self, context: Context | None, stack: AsyncExitStack) -> dict[str, object]:
        arguments: dict[str, object] = dict.fromkeys(self._context, context)
        made: dict[int, object] = {}
        for name, function, takes in self._functions:
            key = id(function)
            if key not in made:
                call = partial(function, context) if takes else function
                made[key] = await self._entered(function, call, stack)
            arguments[name] = made[key]
        return arguments

    async def _entered(
        self, function: Callable[..., object], call: Any, stack: AsyncExitStack
    ) -> object:
        function = plain_function(function)
        manager: AbstractAsyncContextManager[object]
        if inspect.isasyncgenfunction(function):
            manager = asynccontextmanager(call)()
        elif inspect.isgeneratorfunction(function):
            manager = _OnThread(contextmanager(call)(), self._executor)
        else:
            return await self._returned(function, call)
        value = await manager.__aenter__()
        stack.push_async_exit(partial(_leave, manager))
        return value

    async def _returned(self, function: Callable[..., object], call: Callable[[], Any]) -> object:
        if inspect.iscoroutinefunction(function):
            return await call()
        run = contextvars.copy_context().run
        value = await self._executor.in_thread(partial(run, call))
        return await value if inspect.isawaitable(value) else value


async def _leave(
    manager: AbstractAsyncContextManager[object],
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,
) -> None:
    """Leave ``manager``; what the call raised is raised on, whatever it says to that."""
    await manager.__aexit__(kind, error, trace)


class _OnThread(AbstractAsyncContextManager[object]):
    """A synchronous context manager, entered and left on threads.

    Both in one context: a variable that it sets at first may be reset at last, which is what
    leaving NumPy's ``errstate`` does.
    """

    def __init__(self, manager: AbstractContextManager[object], executor: ModelExecutor) -> None:
        self._manager = manager
        self._executor = executor
        self._context = contextvars.copy_context()
        self._entered = False

    async def __aenter__(self) -> object:
        try:
            return await self._executor.in_thread(partial(self._context.run, self._enter))
        except asyncio.CancelledError as error:
            if self._entered:  # meanwhile, and nobody else leaves it
                await self.__aexit__(type(error), error, error.__traceback__)
            raise

    def _enter(self) -> object:
        value = self._manager.__enter__()
        self._entered = True
        return value

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leave = partial(self._context.run, self._manager.__exit__, kind, error, trace)
        await self._executor.in_thread(leave)
