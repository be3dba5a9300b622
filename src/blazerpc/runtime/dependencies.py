"""Make what a model depends on before its call, and close it afterwards."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import (
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
        self._functions = [
            (name, dependency.fn, takes_context(dependency))
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
        failure: BaseException | None = None
        with self._executor.failures():
            async with AsyncExitStack() as stack:
                arguments = await self._made(context, stack)
                try:
                    yield arguments
                except BaseException as error:
                    failure = error
                    raise
            if failure is not None:
                raise failure  # which a function has swallowed

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
        if inspect.isasyncgenfunction(function):
            return await stack.enter_async_context(asynccontextmanager(call)())
        if inspect.isgeneratorfunction(function):
            manager = _OnThread(contextmanager(call)(), self._executor)
            return await stack.enter_async_context(manager)
        if inspect.iscoroutinefunction(function):
            return await call()
        return await self._executor.in_thread(call)


class _OnThread:
    """A synchronous context manager, entered and left on threads."""

    def __init__(self, manager: AbstractContextManager[object], executor: ModelExecutor) -> None:
        self._manager = manager
        self._executor = executor

    async def __aenter__(self) -> object:
        return await self._executor.in_thread(self._manager.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._executor.in_thread(partial(self._manager.__exit__, kind, error, trace))
