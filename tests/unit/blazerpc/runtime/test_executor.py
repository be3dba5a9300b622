from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import InferenceError
from blazerpc.runtime import ModelExecutor, ModelRegistry
from blazerpc.runtime.handover import AHEAD
from tests.unit.blazerpc.support import PATIENCE, until

Execute = Callable[..., ModelExecutor]

caller: ContextVar[str] = ContextVar("caller", default="nobody")


@pytest.fixture
async def executor_of() -> AsyncIterator[Execute]:
    """Make executors that end with the test."""
    made: list[ModelExecutor] = []

    def make(func: Callable[..., object], streaming: bool = False) -> ModelExecutor:
        registry = ModelRegistry()
        registry.register("my-model", "1", func, streaming)
        made.append(ModelExecutor(registry.get("my-model")))
        return made[-1]

    yield make
    for executor in made:
        await executor.close()


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


async def collect(executor: ModelExecutor, **arguments: object) -> list[object]:
    async with asyncio.timeout(PATIENCE):
        return [item async for item in await executor.stream(arguments)]


# One result.


async def test_a_function_is_called_with_its_arguments_by_name(executor_of: Execute) -> None:
    def model(text: str, times: int) -> str:
        return text * times

    assert await executor_of(model).execute({"times": 2, "text": "ab"}) == "abab"


async def test_a_coroutine_function_runs_on_the_loop(executor_of: Execute) -> None:
    async def model(x: int) -> int:
        assert threading.current_thread() is threading.main_thread()
        await asyncio.sleep(0)
        return x + 1

    assert await executor_of(model).execute({"x": 1}) == 2


async def test_the_loop_goes_on_while_a_function_blocks(executor_of: Execute) -> None:
    started, go = Signal(), threading.Event()

    def model(x: int) -> bool:
        started.set()
        return go.wait(PATIENCE)

    call = asyncio.create_task(executor_of(model).execute({"x": 1}))
    await started.wait()
    go.set()  # the loop runs this while the function waits for it
    assert await call is True


async def test_functions_run_beside_one_another(executor_of: Execute) -> None:
    together = threading.Barrier(3, timeout=PATIENCE)

    def model(x: int) -> int:
        together.wait()
        return x

    executor = executor_of(model)
    results = await asyncio.gather(*(executor.execute({"x": x}) for x in range(3)))
    assert results == [0, 1, 2]


async def test_a_batch_that_was_left_keeps_the_next_one_waiting() -> None:
    begun, free = Signal(), threading.Event()
    ended: list[int] = []

    def each(x: list[int]) -> list[int]:
        if x == [1]:
            begun.set()
            free.wait(PATIENCE)
        ended.extend(x)
        return x

    registry = ModelRegistry()
    registry.register("each", "1", each, batch=True)
    executor = ModelExecutor(registry.get("each"))
    first = asyncio.create_task(executor.execute({"x": [1]}))
    await begun.wait()
    first.cancel()
    await asyncio.wait([first])
    second = asyncio.create_task(executor.execute({"x": [2]}))
    done, _ = await asyncio.wait([second], timeout=0.2)
    free.set()
    assert not done
    assert await second == [2]
    assert ended == [1, 2]
    await executor.close()


async def test_a_function_sees_the_callers_context_and_does_not_change_it(
    executor_of: Execute,
) -> None:
    def model(x: int) -> str:
        seen = caller.get()
        caller.set("the model")
        return seen

    executor = executor_of(model)
    caller.set("somebody")
    assert await executor.execute({"x": 1}) == "somebody"
    assert caller.get() == "somebody"
    caller.set("somebody else")
    assert await executor.execute({"x": 1}) == "somebody else"


async def test_an_awaitable_that_a_function_returns_is_awaited_on_the_loop(
    executor_of: Execute,
) -> None:
    async def work(x: int) -> int:
        assert threading.current_thread() is threading.main_thread()
        return x + 1

    def model(x: int) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return work(x)

    model.__annotations__["return"] = int
    assert await executor_of(model).execute({"x": 1}) == 2


async def test_a_callable_object_with_a_coroutine_for_its_call_is_a_model(
    executor_of: Execute,
) -> None:
    class Model:
        async def __call__(self, x: int) -> int:
            return x + 1

    assert await executor_of(Model()).execute({"x": 1}) == 2


ERRORS: list[BaseException] = [
    ValueError("bad"),
    StopIteration(3),
    SystemExit(3),
    asyncio.CancelledError(),
    TimeoutError(),
]
ONLY_IN_THREADS: list[BaseException] = [KeyboardInterrupt(), GeneratorExit(), StopAsyncIteration()]


def raising(error: BaseException) -> Callable[..., object]:
    def model(x: int) -> int:
        raise error

    return model


def raising_async(error: BaseException) -> Callable[..., object]:
    async def model(x: int) -> int:
        raise error

    return model


@pytest.mark.parametrize("error", [*ERRORS, *ONLY_IN_THREADS], ids=lambda e: type(e).__name__)
async def test_what_a_function_raises_is_the_models_failure(
    executor_of: Execute, error: BaseException
) -> None:
    executor = executor_of(raising(error))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(InferenceError, match="model 'my-model' raised ") as caught:
            await executor.execute({"x": 1})
    assert caught.value.model_name == "my-model"
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
async def test_what_a_coroutine_raises_is_the_models_failure(
    executor_of: Execute, error: BaseException
) -> None:
    executor = executor_of(raising_async(error))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(InferenceError, match="model 'my-model' raised ") as caught:
            await executor.execute({"x": 1})
    assert caught.value.model_name == "my-model"
    if not isinstance(error, StopIteration):  # which Python makes a RuntimeError of
        assert caught.value.__cause__ is error


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise AttributeError("message")

    __repr__ = __str__


@pytest.mark.parametrize("make", [raising, raising_async])
async def test_an_exception_that_cannot_be_printed_is_the_models_failure_too(
    executor_of: Execute, make: Callable[[BaseException], Callable[..., object]]
) -> None:
    # By its type alone: a report about it could not be printed either.
    kind: type[BaseException] | None = None
    try:
        await executor_of(make(UnprintableError())).execute({"x": 1})
    except BaseException as error:
        kind = type(error)
    assert kind is InferenceError


@pytest.mark.parametrize("make", [raising, raising_async])
@pytest.mark.parametrize(
    "error",
    [GRPCError(Status.NOT_FOUND, "no such user"), InferenceError("bad", model_name="inner")],
    ids=["grpc", "inference"],
)
async def test_an_error_that_says_its_status_is_left_as_it_is(
    executor_of: Execute,
    make: Callable[[BaseException], Callable[..., object]],
    error: Exception,
) -> None:
    with pytest.raises(type(error)) as caught:
        await executor_of(make(error)).execute({"x": 1})
    assert caught.value is error


async def test_something_cancelled_that_a_model_awaits_is_the_models_failure(
    executor_of: Execute,
) -> None:
    async def model(x: int) -> int:
        other = asyncio.create_task(asyncio.sleep(PATIENCE))
        other.cancel()
        await other
        return x

    with pytest.raises(InferenceError, match=r"raised CancelledError\("):
        await executor_of(model).execute({"x": 1})


async def test_a_cancelled_call_cancels_the_coroutine(executor_of: Execute) -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def model(x: int) -> int:
        started.set()
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            cleaned.set()
        return x

    call = asyncio.create_task(executor_of(model).execute({"x": 1}))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert cleaned.is_set()


async def test_a_cancelled_call_gives_the_function_up_which_runs_to_its_end(
    executor_of: Execute,
) -> None:
    started, ended, go = Signal(), Signal(), threading.Event()

    def model(x: int) -> int:
        started.set()
        go.wait(PATIENCE)
        ended.set()
        return x

    call = asyncio.create_task(executor_of(model).execute({"x": 1}))
    await started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    await ended.wait()


async def test_a_call_in_a_thread_ends_well_after_close(executor_of: Execute) -> None:
    started, go = Signal(), threading.Event()

    def model(x: int) -> bool:
        started.set()
        return go.wait(PATIENCE)

    executor = executor_of(model)
    call = asyncio.create_task(executor.execute({"x": 1}))
    await started.wait()
    await executor.close()
    go.set()
    assert await call is True


# Streams.


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
