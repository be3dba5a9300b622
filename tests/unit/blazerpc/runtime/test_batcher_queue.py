"""Which requests make a batch, in which order, and which are not served at all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc.exceptions import DeadlineExceededError, OverloadedError
from blazerpc.runtime import Batcher
from blazerpc.runtime.observer import Timing
from tests.unit.blazerpc.support import PATIENCE, until

#: Milliseconds, longer than any test: what goes before it, goes for another reason.
AGES = 3_000_000.0

caller: ContextVar[str] = ContextVar("caller", default="nobody")


class Model:
    """A batch function that echoes, remembers its batches, and can be held."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[str]] = []
        self.ended = 0
        self.cancelled = 0
        self.callers: list[str] = []
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def __call__(self, requests: list[str]) -> list[str]:
        self.batches.append(requests)
        self.callers.append(caller.get())
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.ended += 1
        return requests


@asynccontextmanager
async def started(
    model: Model, max_size: int = 4, timeout_ms: float = AGES, **options: Any
) -> AsyncIterator[Batcher[str, str]]:
    batcher: Batcher[str, str] = Batcher(max_size, timeout_ms, **options)
    await batcher.start(model)
    async with asyncio.timeout(PATIENCE):
        yield batcher
        model.go.set()
        await batcher.stop()
    assert (batcher.queued, batcher.running, batcher._groups, batcher._timer) == (0, 0, {}, None)


Submitted = asyncio.Task[str]


def submit(batcher: Batcher[str, str], request: str, **options: Any) -> Submitted:
    return asyncio.create_task(batcher.submit(request, **options))


async def busy(batcher: Batcher[str, str], model: Model) -> Submitted:
    """Keep the model busy with one request: others wait from now on."""
    task = submit(batcher, "busy")
    await until(lambda: model.batches == [["busy"]])
    return task


async def all_of(tasks: Sequence[Submitted]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


# What makes a batch.


async def test_a_lone_request_does_not_wait_for_company() -> None:
    model = Model()
    async with started(model) as batcher:
        for request in "abc":
            assert await batcher.submit(request) == request
    assert model.batches == [["a"], ["b"], ["c"]]


async def test_requests_of_different_groups_are_never_in_one_batch() -> None:
    model = Model(held=True)
    async with started(model) as batcher:
        tasks = [await busy(batcher, model)]
        tasks += [submit(batcher, name, group=name[0]) for name in ("x1", "y1", "x2", "y2")]
        await until(lambda: batcher.queued == 4)
        model.go.set()
        assert await all_of(tasks) == ["busy", "x1", "y1", "x2", "y2"]
    assert model.batches == [["busy"], ["x1", "x2"], ["y1", "y2"]]


async def test_the_group_with_the_most_urgent_request_goes_first() -> None:
    model = Model(held=True)
    async with started(model) as batcher:
        tasks = [await busy(batcher, model)]
        soon = time.monotonic() + 1
        tasks += [submit(batcher, "x1", group="x"), submit(batcher, "y1", group="y")]
        tasks += [submit(batcher, "y2", group="y", deadline=soon)]
        await until(lambda: batcher.queued == 3)
        model.go.set()
        await all_of(tasks)
    assert model.batches == [["busy"], ["y1", "y2"], ["x1"]]


async def test_a_group_that_never_ends_does_not_starve_another() -> None:
    model = Model()
    async with started(model, max_size=2) as batcher:

        async def crowd() -> None:
            while True:
                await batcher.submit("x", group="x")

        crowd_tasks = [asyncio.create_task(crowd()) for _ in range(6)]
        await until(lambda: len(model.batches) > 5)
        before = len(model.batches)
        assert await batcher.submit("y", group="y") == "y"
        assert len(model.batches) - before < 10
        for task in crowd_tasks:
            task.cancel()
        await asyncio.wait(crowd_tasks)


async def test_a_batch_has_no_more_rows_than_it_may_have() -> None:
    model = Model(held=True)
    async with started(model, max_size=4) as batcher:
        tasks = [await busy(batcher, model)]
        rows = {"a": 3, "b": 1, "c": 2, "d": 2, "e": 1}
        tasks += [submit(batcher, name, rows=count) for name, count in rows.items()]
        await until(lambda: batcher.queued == 5)
        model.go.set()
        await all_of(tasks)
    assert model.batches == [["busy"], ["a", "b"], ["c", "d"], ["e"]]


async def test_a_request_with_more_rows_than_a_batch_may_have_runs_alone() -> None:
    model = Model(held=True)
    async with started(model, max_size=4) as batcher:
        tasks = [await busy(batcher, model), submit(batcher, "a")]
        tasks += [submit(batcher, "large", rows=100), submit(batcher, "b")]
        await until(lambda: batcher.queued == 3)
        model.go.set()
        await all_of(tasks)
    assert model.batches == [["busy"], ["a"], ["large"], ["b"]]


async def test_a_request_without_rows_takes_no_room() -> None:
    model = Model(held=True)
    async with started(model, max_size=2) as batcher:
        tasks = [await busy(batcher, model)]
        tasks += [submit(batcher, name, rows=0 if name.isupper() else 1) for name in "AaBbC"]
        await until(lambda: batcher.queued == 5)
        model.go.set()
        assert await all_of(tasks) == ["busy", *"AaBbC"]
    assert model.batches == [["busy"], [*"AaBbC"]]


async def test_a_request_without_rows_is_served_when_it_is_alone() -> None:
    async with started(Model()) as batcher:
        assert await batcher.submit("nothing", rows=0) == "nothing"


async def test_when_there_are_more_than_a_batch_takes_the_earliest_deadlines_go_first() -> None:
    model = Model(held=True)
    async with started(model, max_size=2) as batcher:
        tasks, now = [await busy(batcher, model)], time.monotonic()
        deadlines = {"late": now + 20, "none": None, "early": now + 5, "soon": now + 10}
        tasks += [submit(batcher, name, deadline=at) for name, at in deadlines.items()]
        await until(lambda: batcher.queued == 4)
        model.go.set()
        await all_of(tasks)
    assert model.batches == [["busy"], ["early", "soon"], ["late", "none"]]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=30))
def test_every_request_is_served_once_in_a_batch_of_its_group(
    requests: list[tuple[int, int]],
) -> None:
    async def run() -> None:
        model = Model()
        async with started(model, max_size=8, timeout_ms=1) as batcher:
            names = [f"{group}.{number}" for number, (_, group) in enumerate(requests)]
            tasks = [
                submit(batcher, name, rows=rows, group=group)
                for name, (rows, group) in zip(names, requests, strict=True)
            ]
            assert await all_of(tasks) == names
        rows_of = dict(zip(names, (rows for rows, _ in requests), strict=True))
        for batch in model.batches:
            assert len({name.partition(".")[0] for name in batch}) == 1
            assert len(batch) == 1 or sum(rows_of[name] for name in batch) <= 8
        assert sorted(name for batch in model.batches for name in batch) == sorted(names)

    asyncio.run(run())


# Requests that are on their way.


async def test_a_batch_waits_for_a_message_on_its_way() -> None:
    model = Model()
    async with started(model) as batcher:
        with batcher.incoming():
            first = submit(batcher, "a")
            await asyncio.sleep(0.01)
            assert model.batches == []
            second = submit(batcher, "b")
            await asyncio.sleep(0)
        assert await all_of([first, second]) == ["a", "b"]
    assert model.batches == [["a", "b"]]


async def test_a_batch_goes_when_what_was_on_its_way_has_not_become_a_request() -> None:
    model = Model()
    async with started(model) as batcher:
        with batcher.incoming():
            first = submit(batcher, "a")
            await asyncio.sleep(0.01)
            assert not first.done()
        assert await first == "a"


async def test_what_never_arrives_keeps_nobody_waiting_again_and_again() -> None:
    model = Model()
    async with started(model, timeout_ms=5) as batcher, asyncio.timeout(PATIENCE):
        with batcher.incoming():
            await batcher.submit("a")
            # The first has waited for its whole time, and nobody does after it.
            timings = [Timing() for _ in range(50)]
            for timing in timings:
                await batcher.submit("b", timing=timing)
    assert sum(timing.queue or 0 for timing in timings) < 50 * 0.005 / 2


# Several batches at one time.


async def test_no_more_batches_run_at_one_time_than_may() -> None:
    model = Model(held=True)
    async with started(model, max_size=1, max_concurrency=3) as batcher:
        tasks = [submit(batcher, name) for name in "abcde"]
        await until(lambda: batcher.running == 3)
        assert (len(model.batches), batcher.queued) == (3, 2)
        model.go.set()
        assert await all_of(tasks) == [*"abcde"]
    assert len(model.batches) == 5


async def test_beside_a_running_batch_the_next_collects_until_that_one_ends() -> None:
    model = Model(held=True)
    async with started(model, max_concurrency=2) as batcher:
        first = await busy(batcher, model)
        others = [submit(batcher, "a")]  # the second to come: there is a rate, and it is high
        await until(lambda: batcher.queued == 1)
        others.append(submit(batcher, "b"))
        await until(lambda: batcher.queued == 2)
        assert model.batches == [["busy"]]
        model.go.set()
        assert await all_of([first, *others]) == ["busy", "a", "b"]
    assert model.batches == [["busy"], ["a", "b"]]


# Bounds.


async def test_beyond_the_queue_a_request_is_refused_at_once_and_told_when_to_come_back() -> None:
    model = Model(held=True)
    async with started(model, max_size=1, max_queue_size=2, what="model 'm'") as batcher:
        tasks = [await busy(batcher, model), submit(batcher, "a"), submit(batcher, "b")]
        await until(lambda: batcher.queued == 2)
        with pytest.raises(OverloadedError, match=r"^model 'm': the queue is full$") as caught:
            await batcher.submit("c")
        assert 0 < caught.value.retry_after < 1
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        tasks.append(submit(batcher, "d"))
        model.go.set()
        assert [await task for task in tasks if task is not tasks[1]] == ["busy", "b", "d"]


@pytest.mark.parametrize("max_queue_size", [0, 1])
async def test_a_model_that_is_idle_serves_a_batch_whatever_may_wait(max_queue_size: int) -> None:
    model = Model(held=True)
    async with started(model, max_size=2, max_queue_size=max_queue_size) as batcher:
        served = [submit(batcher, name) for name in "ab"]
        await until(lambda: model.batches == [["a", "b"]])
        waiting = [submit(batcher, name) for name in "cd"[:max_queue_size]]
        await until(lambda: batcher.queued == max_queue_size)
        with pytest.raises(OverloadedError):
            await batcher.submit("too many")
        model.go.set()
        assert await all_of(served + waiting) == [*"abcd"[: 2 + max_queue_size]]


# Deadlines and those who go away.


async def test_a_request_whose_deadline_passed_in_the_queue_is_not_served() -> None:
    model = Model(held=True)
    async with started(model) as batcher:
        tasks = [await busy(batcher, model)]
        tasks += [submit(batcher, "late", deadline=time.monotonic() + 0.002)]
        tasks += [submit(batcher, "patient")]
        await until(lambda: batcher.queued == 2)
        await asyncio.sleep(0.005)
        model.go.set()
        _, late, patient = await all_of(tasks)
    assert isinstance(late, DeadlineExceededError)
    assert patient == "patient"
    assert model.batches == [["busy"], ["patient"]]


async def test_a_queue_of_requests_whose_deadlines_passed_is_emptied_without_a_batch() -> None:
    model = Model(held=True)
    async with started(model, max_size=2) as batcher:
        tasks = [await busy(batcher, model)]
        past = time.monotonic() - 1
        tasks += [submit(batcher, str(number), deadline=past) for number in range(9)]
        await until(lambda: batcher.queued == 9)
        model.go.set()
        results = await all_of(tasks)
    assert all(isinstance(result, DeadlineExceededError) for result in results[1:])
    assert model.batches == [["busy"]]


@pytest.mark.parametrize("abandon", [True, False])
async def test_a_batch_that_nobody_waits_for_is_abandoned_where_that_ends_it(
    abandon: bool,
) -> None:
    model = Model(held=True)
    async with started(model, max_size=2, abandon=abandon) as batcher:
        tasks = [submit(batcher, name) for name in "ab"]
        await until(lambda: model.batches == [["a", "b"]])
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        await asyncio.sleep(0.001)
        assert (batcher.running, model.cancelled) == (1, 0)
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        if abandon:
            await until(lambda: batcher.running == 0)
        else:  # code on a thread: its slot is not free before it is done
            await asyncio.sleep(0.001)
            assert batcher.running == 1
    assert (model.cancelled, model.ended) == ((1, 0) if abandon else (0, 1))


async def test_after_an_abandoned_batch_the_next_is_served() -> None:
    model = Model(held=True)
    async with started(model, abandon=True) as batcher:
        first = await busy(batcher, model)
        second = submit(batcher, "a")
        await until(lambda: batcher.queued == 1)
        first.cancel()
        await until(lambda: model.batches == [["busy"], ["a"]])
        model.go.set()
        assert await second == "a"


# Context and timing.


async def test_a_lone_request_runs_in_the_context_of_its_caller() -> None:
    model = Model()
    async with started(model) as batcher:
        caller.set("somebody")
        await batcher.submit("a")
    assert model.callers == ["somebody"]


async def test_a_batch_of_several_runs_in_nobodys_context() -> None:
    model = Model()
    async with started(model) as batcher:
        caller.set("somebody")
        await all_of([submit(batcher, "a"), submit(batcher, "b")])
    assert model.callers == ["nobody"]


async def test_each_request_is_told_how_it_fared() -> None:
    model = Model(held=True)
    async with started(model, max_size=8) as batcher:
        tasks, timings = [await busy(batcher, model)], [Timing() for _ in range(3)]
        tasks += [submit(batcher, "x", rows=n, timing=t) for n, t in enumerate(timings)]
        await until(lambda: batcher.queued == 3)
        await asyncio.sleep(0.005)
        model.go.set()
        await all_of(tasks)
    assert [timing.batch_size for timing in timings] == [3, 3, 3]
    assert all((timing.queue or 0) >= 0.005 for timing in timings)
    assert all(timing.compute is not None for timing in timings)


# Stop.


async def test_stop_serves_all_groups_and_waits_for_no_message() -> None:
    model = Model()
    async with started(model, max_size=2) as batcher:
        with batcher.incoming():
            tasks = [submit(batcher, str(number), group=number % 3) for number in range(8)]
            await asyncio.sleep(0.005)
            assert batcher.queued > 0
            await batcher.stop()
            assert await all_of(tasks) == [str(number) for number in range(8)]
