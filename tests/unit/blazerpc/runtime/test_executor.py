"""Models that give one result, and what becomes of their failures."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import InferenceError
from tests.unit.blazerpc.runtime.executors import ERRORS, Execute, Signal, caller
from tests.unit.blazerpc.support import PATIENCE


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
