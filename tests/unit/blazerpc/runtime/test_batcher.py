from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from blazerpc import ConfigurationError, InferenceError
from blazerpc.runtime import Batcher
from tests.unit.blazerpc.support import PATIENCE

#: Milliseconds, longer than any test: what goes before it, goes for another reason.
AGES = 3_000_000.0

Serve = Callable[[list[Any]], Awaitable[Sequence[Any]]]


class Doubling:
    """A batch function that remembers its batches, and waits where it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, requests: list[int]) -> list[int]:
        self.batches.append(requests)
        self.started.set()
        await self.go.wait()
        return [2 * request for request in requests]


@asynccontextmanager
async def started(
    function: Serve, *, max_size: int = 32, timeout_ms: float = AGES
) -> AsyncIterator[Batcher[Any, Any]]:
    batcher: Batcher[Any, Any] = Batcher(max_size, timeout_ms)
    await batcher.start(function)
    async with asyncio.timeout(PATIENCE):
        yield batcher
        await batcher.stop()


def submit_all(batcher: Batcher[Any, Any], requests: Sequence[Any]) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(batcher.submit(request)) for request in requests]


async def results_of(tasks: Sequence[asyncio.Task[Any]]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_full_batch_goes_at_once() -> None:
    double = Doubling()
    async with started(double, max_size=3) as batcher:
        assert await results_of(submit_all(batcher, [1, 2, 3])) == [2, 4, 6]
    assert double.batches == [[1, 2, 3]]


async def test_a_batch_that_does_not_fill_goes_when_its_time_is_over() -> None:
    double = Doubling()
    async with started(double, max_size=3, timeout_ms=1) as batcher:
        assert await results_of(submit_all(batcher, [1, 2])) == [2, 4]
    assert double.batches == [[1, 2]]


async def test_without_a_time_to_wait_requests_go_with_those_that_are_there() -> None:
    double = Doubling()
    async with started(double, max_size=3, timeout_ms=0) as batcher:
        assert await results_of(submit_all(batcher, [1, 2])) == [2, 4]
    assert sorted(request for batch in double.batches for request in batch) == [1, 2]


async def test_no_batch_is_larger_than_it_may_be_and_none_is_reordered() -> None:
    double = Doubling()
    async with started(double, max_size=4) as batcher:
        tasks = submit_all(batcher, range(10))
        await asyncio.sleep(0)
        await batcher.stop()
        assert await results_of(tasks) == [2 * request for request in range(10)]
    assert double.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_a_batch_of_one_never_waits() -> None:
    double = Doubling()
    async with started(double, max_size=1) as batcher:
        assert await batcher.submit(1) == 2
        assert await batcher.submit(2) == 4
    assert double.batches == [[1], [2]]


async def test_requests_that_come_while_a_batch_is_served_are_the_next_batch() -> None:
    double = Doubling()
    double.go.clear()
    async with started(double, max_size=2) as batcher:
        first = submit_all(batcher, [1, 2])
        await double.started.wait()
        second = submit_all(batcher, [3, 4])
        double.go.set()
        assert await results_of([*first, *second]) == [2, 4, 6, 8]
    assert double.batches == [[1, 2], [3, 4]]


async def test_each_of_many_submitters_gets_its_own_result() -> None:
    double = Doubling()
    async with started(double, max_size=7, timeout_ms=1) as batcher:
        results = await results_of(submit_all(batcher, range(200)))
    assert results == [2 * request for request in range(200)]
    assert max(map(len, double.batches)) <= 7


# Failure.


async def test_a_batch_function_that_raises_fails_every_request_of_that_batch_only() -> None:
    error = ValueError("bad batch")

    async def fail_once(requests: list[int]) -> list[int]:
        if 1 in requests:
            raise error
        return requests

    async with started(fail_once, max_size=2) as batcher:
        results = await results_of(submit_all(batcher, [1, 2, 3, 4]))
    assert results == [error, error, 3, 4]


async def test_an_error_at_an_index_fails_that_request_only() -> None:
    error = ValueError("bad request")

    async def fail_odd(requests: list[int]) -> list[int | Exception]:
        return [error if request % 2 else request for request in requests]

    async with started(fail_odd, max_size=3) as batcher:
        assert await results_of(submit_all(batcher, [1, 2, 3])) == [error, 2, error]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_wrong_number_of_results_fails_the_batch_and_no_result_goes_astray(
    count: int,
) -> None:
    async def miscount(requests: list[int]) -> list[int]:
        return [0] * count

    async with started(miscount, max_size=2) as batcher:
        results = await results_of(submit_all(batcher, [1, 2]))
    for result in results:
        assert isinstance(result, InferenceError)
        assert str(result) == f"{count} results for a batch of 2 requests"


async def test_a_batch_function_that_returns_nothing_fails_the_batch() -> None:
    async def nothing(requests: list[int]) -> Any:
        return None

    async with started(nothing, max_size=2) as batcher:
        results = await results_of(submit_all(batcher, [1, 2]))
        assert all(isinstance(result, Exception) for result in results)


async def test_a_stop_iteration_at_an_index_fails_that_request_and_no_other() -> None:
    # A future cannot hold one: the batcher must not end over it.
    async def stop_first(requests: list[int]) -> list[int | Exception]:
        return [StopIteration(), *requests[1:]]

    async with started(stop_first, max_size=2) as batcher:
        for _ in range(2):
            first, second = await results_of(submit_all(batcher, [1, 2]))
            assert isinstance(first, Exception)
            assert second == 2


async def test_something_cancelled_that_a_batch_function_awaits_fails_that_batch_only() -> None:
    async def await_cancelled(requests: list[int]) -> list[int]:
        if 1 in requests:
            other = asyncio.create_task(asyncio.sleep(PATIENCE))
            other.cancel()
            await other
        return requests

    async with started(await_cancelled, max_size=2) as batcher:
        first, second, *others = await results_of(submit_all(batcher, [1, 2, 3, 4]))
        assert isinstance(first, BaseException)
        assert isinstance(second, BaseException)
        assert others == [3, 4]


# Submitters that go away.


async def test_a_submitter_that_went_away_is_not_served() -> None:
    double = Doubling()
    async with started(double, max_size=3) as batcher:
        first, second = submit_all(batcher, [1, 2])
        await asyncio.sleep(0)
        first.cancel()
        third = submit_all(batcher, [3])
        assert await results_of([second, *third]) == [4, 6]
    assert double.batches == [[2], [3]]


async def test_a_batch_whose_submitters_all_went_away_is_not_served_at_all() -> None:
    double = Doubling()
    async with started(double, max_size=2) as batcher:
        tasks = submit_all(batcher, [1, 2])
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        assert await results_of(submit_all(batcher, [3, 4])) == [6, 8]
    assert double.batches == [[3, 4]]


async def test_a_submitter_that_goes_away_while_it_is_served_takes_nothing_from_the_others() -> (
    None
):
    double = Doubling()
    double.go.clear()
    async with started(double, max_size=2) as batcher:
        first, second = submit_all(batcher, [1, 2])
        await double.started.wait()
        first.cancel()
        double.go.set()
        assert await second == 4
        assert await results_of(submit_all(batcher, [3, 4])) == [6, 8]


# Start and stop.


async def test_stop_serves_what_was_submitted_and_does_not_wait_for_more() -> None:
    double = Doubling()
    async with started(double) as batcher:
        tasks = submit_all(batcher, [1, 2])
        await asyncio.sleep(0)
        await batcher.stop()
        assert [task.result() for task in tasks if task.done()] == await results_of(tasks)
    assert double.batches == [[1, 2]]


async def test_stop_waits_for_the_batch_that_is_served() -> None:
    double = Doubling()
    double.go.clear()
    async with started(double, max_size=1) as batcher:
        (task,) = submit_all(batcher, [1])
        await double.started.wait()
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        double.go.set()
        await stopping
        assert await task == 2


async def test_submit_needs_a_batcher_that_runs() -> None:
    batcher: Batcher[int, int] = Batcher()
    with pytest.raises(RuntimeError, match="the batcher is not running"):
        await batcher.submit(1)
    await batcher.start(Doubling())
    await batcher.stop()
    with pytest.raises(RuntimeError, match="the batcher is not running"):
        await batcher.submit(1)


async def test_submit_is_refused_while_the_batcher_stops() -> None:
    double = Doubling()
    double.go.clear()
    async with started(double, max_size=1) as batcher:
        submit_all(batcher, [1])
        await double.started.wait()
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="the batcher is not running"):
            await batcher.submit(2)
        double.go.set()
        await stopping


async def test_a_batcher_is_started_once_at_a_time() -> None:
    async with started(Doubling(), max_size=1) as batcher:
        with pytest.raises(RuntimeError, match="the batcher is started already"):
            await batcher.start(Doubling())
        assert await batcher.submit(1) == 2


async def test_a_batcher_can_be_started_again_after_a_stop() -> None:
    async with started(Doubling(), max_size=1) as batcher:
        await batcher.stop()
        await batcher.start(Doubling())
        assert await batcher.submit(1) == 2


async def test_stop_can_be_called_at_any_time() -> None:
    batcher: Batcher[int, int] = Batcher()
    await batcher.stop()
    await batcher.start(Doubling())
    await batcher.stop()
    await batcher.stop()


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"max_batch_size is {size}; it must be at least"):
        Batcher(max_size=size)


@pytest.mark.parametrize("milliseconds", [-1, -0.1, math.nan])
def test_a_time_below_zero_is_refused(milliseconds: float) -> None:
    with pytest.raises(ConfigurationError, match=r"batch_timeout_ms is .*; it must be 0 to an h"):
        Batcher(timeout_ms=milliseconds)
