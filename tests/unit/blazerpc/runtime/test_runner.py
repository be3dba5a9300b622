"""Requests of a batch that failed are run again while somebody waits for them."""

from __future__ import annotations

import asyncio
import time

import pytest

from blazerpc import DeadlineExceededError, InferenceError
from blazerpc.runtime import ModelExecutor, ModelRegistry
from blazerpc.runtime.runner import Request, model_runner
from tests.unit.blazerpc.support import PATIENCE


async def test_whom_nobody_waits_for_is_not_run_again_alone() -> None:
    called: list[list[int]] = []
    together, fail = asyncio.Event(), asyncio.Event()

    async def model(x: list[int]) -> list[int]:
        called.append(x)
        if len(x) > 1:
            together.set()
            await fail.wait()
            raise ValueError("one of them is poison")
        return x

    registry = ModelRegistry()
    registry.register("model", "1", model, batch=True, isolate_failures=True)
    info = registry.get("model")
    runner = model_runner(info, ModelExecutor(info))
    await runner.start()
    async with asyncio.timeout(PATIENCE):
        requests = [Request(arguments={"x": number}, dims={}) for number in range(4)]
        requests[1].deadline = time.monotonic() + 0.05
        calls = [asyncio.create_task(runner.call(request)) for request in requests]
        await together.wait()
        calls[0].cancel()
        await asyncio.sleep(0.06)  # the deadline passes; it is what this is about
        fail.set()
        results = await asyncio.gather(*calls, return_exceptions=True)
        await runner.stop()
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[1], DeadlineExceededError)
    assert not isinstance(results[1], InferenceError)
    assert results[2:] == [2, 3]
    assert called == [[0, 1, 2, 3], [2], [3]]


@pytest.mark.parametrize("rows", [1, 3])
async def test_a_batch_that_succeeds_is_called_once(rows: int) -> None:
    called: list[int] = []

    async def model(x: list[int]) -> list[int]:
        called.append(len(x))
        return x

    registry = ModelRegistry()
    registry.register("model", "1", model, batch=True, isolate_failures=True)
    info = registry.get("model")
    runner = model_runner(info, ModelExecutor(info))
    await runner.start()
    requests = [Request(arguments={"x": number}, dims={}) for number in range(rows)]
    results = await asyncio.gather(*(runner.call(request) for request in requests))
    await runner.stop()
    assert results == list(range(rows))
    assert called == [rows]
