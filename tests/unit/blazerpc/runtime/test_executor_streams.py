"""Models that give streams of results, in threads and on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import InferenceError
from blazerpc.runtime import ModelExecutor
from blazerpc.runtime.handover import AHEAD
from tests.unit.blazerpc.runtime.executors import ERRORS, Execute, Signal, caller
from tests.unit.blazerpc.support import PATIENCE, until


async def collect(executor: ModelExecutor, **arguments: object) -> list[object]:
    async with asyncio.timeout(PATIENCE):
        return [item async for item in await executor.stream(arguments)]


def numbers(n: int) -> Iterator[int]:
    assert threading.current_thread() is not threading.main_thread()
    yield from range(n)


async def async_numbers(n: int) -> AsyncIterator[int]:
    assert threading.current_thread() is threading.main_thread()
    for number in range(n):
        await asyncio.sleep(0)
        yield number


def list_of_numbers(n: int) -> Iterator[int]:
    return iter(list(range(n)))


def function_of_async_numbers(n: int) -> AsyncIterator[int]:
    return async_numbers(n)


async def coroutine_of_async_numbers(n: int) -> AsyncIterator[int]:
    await asyncio.sleep(0)
    return async_numbers(n)


async def coroutine_of_numbers(n: int) -> Iterator[int]:
    return numbers(n)


def awaitable_of_numbers(n: int) -> Iterator[int]:
    awaitable: Awaitable[Iterator[int]] = coroutine_of_numbers(n)
    return awaitable  # type: ignore[return-value]  # what is tested


class Numbers:
    """An iterator that is no generator."""

    def __init__(self, n: int) -> None:
        self._numbers = iter(range(n))

    def __aiter__(self) -> Numbers:
        return self

    async def __anext__(self) -> int:
        for number in self._numbers:
            return number
        raise StopAsyncIteration


def object_of_numbers(n: int) -> AsyncIterator[int]:
    return Numbers(n)


SHAPES = [
    numbers,
    async_numbers,
    list_of_numbers,
    function_of_async_numbers,
    coroutine_of_async_numbers,
    coroutine_of_numbers,
    awaitable_of_numbers,
    object_of_numbers,
]


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("n", [0, 1, 5])
async def test_a_stream_yields_what_the_model_yields(
    executor_of: Execute, model: Callable[..., object], n: int
) -> None:
    assert await collect(executor_of(model), n=n) == list(range(n))


async def test_a_generator_is_never_far_ahead_of_who_takes_its_items(
    executor_of: Execute,
) -> None:
    made: list[int] = []

    def model(n: int) -> Iterator[int]:
        for number in range(n):
            made.append(number)
            yield number

    async with aclosing(await executor_of(model).stream({"n": 1000})) as items:
        for taken in range(100):
            assert await anext(items) == taken
            assert len(made) <= taken + 1 + AHEAD
        # More are made once half of them are taken.
        await until(lambda: 100 + AHEAD // 2 <= len(made) <= 100 + AHEAD)


async def test_the_loop_goes_on_while_a_generator_blocks(executor_of: Execute) -> None:
    started, go = Signal(), threading.Event()

    def model(n: int) -> Iterator[bool]:
        started.set()
        yield go.wait(PATIENCE)

    call = asyncio.create_task(collect(executor_of(model), n=1))
    await started.wait()
    go.set()
    assert await call == [True]


def failing(n: int, error: BaseException) -> Iterator[int]:
    yield from range(n)
    raise error


async def failing_async(n: int, error: BaseException) -> AsyncIterator[int]:
    for number in range(n):
        yield number
    raise error


@pytest.mark.parametrize("function", [failing, failing_async])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
async def test_items_before_a_failure_arrive(
    executor_of: Execute, function: Callable[..., Any], error: BaseException
) -> None:
    def model(n: int) -> Any:
        return function(n, error)

    model.__annotations__["return"] = Iterator[int] if function is failing else AsyncIterator[int]
    async with (
        asyncio.timeout(PATIENCE),
        aclosing(await executor_of(model).stream({"n": 3})) as items,
    ):
        assert [await anext(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(InferenceError, match="model 'my-model' raised ") as caught:
            await anext(items)
    assert caught.value.model_name == "my-model"


@pytest.mark.parametrize("function", [failing, failing_async])
async def test_a_status_that_a_generator_raises_is_left_as_it_is(
    executor_of: Execute, function: Callable[..., Any]
) -> None:
    error = GRPCError(Status.NOT_FOUND, "no such user")

    def model(n: int) -> Any:
        return function(n, error)

    model.__annotations__["return"] = Iterator[int]
    with pytest.raises(GRPCError) as caught:
        await collect(executor_of(model), n=3)
    assert caught.value is error


async def test_a_stream_of_what_is_no_iterator_is_the_models_failure(executor_of: Execute) -> None:
    def model(n: int) -> Iterator[int]:
        return n  # type: ignore[return-value]  # what is tested

    with pytest.raises(InferenceError, match="'int' object is not iterable"):
        await collect(executor_of(model), n=3)


async def test_a_stream_that_is_left_closes_the_async_generator(executor_of: Execute) -> None:
    closed: list[str] = []

    async def model(n: int) -> AsyncIterator[int]:
        try:
            while True:
                yield n
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async with aclosing(await executor_of(model).stream({"n": 3})) as items:
        assert await anext(items) == 3
    assert closed == ["closed"]


async def test_a_stream_that_is_left_closes_the_generator(executor_of: Execute) -> None:
    closed = Signal()

    def model(n: int) -> Iterator[int]:
        try:
            while True:
                yield n
        finally:
            assert threading.current_thread() is not threading.main_thread()
            closed.set()

    async with aclosing(await executor_of(model).stream({"n": 3})) as items:
        assert await anext(items) == 3
    await closed.wait()


async def test_a_cancelled_stream_closes_the_async_generator(executor_of: Execute) -> None:
    started, closed = asyncio.Event(), asyncio.Event()

    async def model(n: int) -> AsyncIterator[int]:
        try:
            started.set()
            await asyncio.sleep(PATIENCE)
            yield n
        finally:
            closed.set()

    call = asyncio.create_task(collect(executor_of(model), n=1))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert closed.is_set()


async def test_a_cancelled_stream_closes_the_generator_once_its_item_is_made(
    executor_of: Execute,
) -> None:
    started, closed, go = Signal(), Signal(), threading.Event()
    made: list[int] = []

    def model(n: int) -> Iterator[int]:
        try:
            for number in range(n):
                started.set()
                go.wait(PATIENCE)
                made.append(number)
                yield number
        finally:
            closed.set()

    call = asyncio.create_task(collect(executor_of(model), n=9))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    await closed.wait()
    assert made == [0]


async def test_a_generator_sees_the_callers_context(executor_of: Execute) -> None:
    def model(n: int) -> Iterator[str]:
        for _ in range(n):
            yield caller.get()

    caller.set("somebody")
    assert await collect(executor_of(model), n=2) == ["somebody", "somebody"]


async def test_a_generator_keeps_its_own_context_from_item_to_item(executor_of: Execute) -> None:
    def model(n: int) -> Iterator[str]:
        token = caller.set("the model")
        for _ in range(n):
            yield caller.get()
        caller.reset(token)

    assert await collect(executor_of(model), n=2) == ["the model", "the model"]


async def test_a_generator_can_yield_inside_numpys_errstate(executor_of: Execute) -> None:
    def model(n: int) -> Iterator[float]:
        with np.errstate(divide="ignore"):
            for _ in range(n):
                yield float(np.float64(1) / np.float64(0))

    assert await collect(executor_of(model), n=2) == [np.inf, np.inf]


async def test_an_async_generator_keeps_its_own_context_from_item_to_item(
    executor_of: Execute,
) -> None:
    async def model(n: int) -> AsyncIterator[float]:
        with np.errstate(divide="ignore"):
            for _ in range(n):
                yield float(np.float64(1) / np.float64(0))

    assert await collect(executor_of(model), n=2) == [np.inf, np.inf]
