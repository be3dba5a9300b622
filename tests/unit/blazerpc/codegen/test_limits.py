"""Bounds on what runs and what waits, and that nothing is left of calls that were given up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpclib.const import Cardinality, Status

from blazerpc import BlazeApp, BlazeClient, Depends, Tensor
from blazerpc.runtime.runner import BatchRunner, SingleRunner
from blazerpc_client import ResourceExhausted
from tests.unit.blazerpc.support import PATIENCE, Answer, Running, client_of, serving, until

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 1)]

#: int field 1 of value 3.
THREE = b"\x08\x03"


class Gate:
    """Holds the code of models, and counts what is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = threading.Event()
        self.inside = 0
        self.most = 0
        self.calls = 0

    def open(self) -> None:
        self._open.set()

    def enter(self) -> None:
        with self._lock:
            self.calls += 1
            self.inside += 1
            self.most = max(self.most, self.inside)

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1

    def pass_through(self) -> None:
        self.enter()
        self._open.wait(PATIENCE)
        self.leave()

    async def pass_through_async(self) -> None:
        self.enter()
        try:
            while not self._open.is_set():
                await asyncio.sleep(0.001)
        finally:
            self.leave()


def app_of(gate: Gate, **options: Any) -> BlazeApp:
    app = BlazeApp(**options)

    @app.model("sync")
    def sync(x: int) -> int:
        gate.pass_through()
        return x

    @app.model("async")
    async def async_(x: int) -> int:
        await gate.pass_through_async()
        return x

    @app.model("rows")
    def rows(x: Rows) -> Rows:
        gate.pass_through()
        return x

    @app.model("items")
    def items(x: int) -> Iterator[int]:
        while True:
            gate.pass_through()
            time.sleep(0.001)
            yield x

    @app.model("async-items")
    async def async_items(x: int) -> AsyncIterator[int]:
        while True:
            await gate.pass_through_async()
            await asyncio.sleep(0.001)
            yield x

    return app


def rows_request(value: float = 1.0) -> bytes:
    data = np.array([value], np.float32).tobytes()
    tensor = b"\n\x02\x01\x01\x12\x05float\x1a\x04" + data
    return b"\n" + bytes([len(tensor)]) + tensor


def calls(run: Running, rpc: str, count: int) -> list[asyncio.Task[Answer]]:
    request = rows_request() if rpc == "Rows" else THREE
    return [asyncio.create_task(run.answer(rpc, request)) for _ in range(count)]


async def statuses(tasks: list[asyncio.Task[Answer]]) -> list[Status]:
    return [answer.status for answer in await asyncio.gather(*tasks)]


async def refused(client: BlazeClient, model: str) -> str:
    """Return what such a call is refused with; it is told when to come back."""
    x: Any = np.ones((1, 1), np.float32) if model == "rows" else 3
    call = anext(client.stream(model, x=x)) if "items" in model else client.predict(model, x=x)
    with pytest.raises(ResourceExhausted) as caught:
        await call
    milliseconds = int(str(caught.value.trailing_metadata["grpc-retry-pushback-ms"]))
    assert milliseconds >= 1
    (info,) = caught.value.details
    assert isinstance(info, RetryInfo)
    assert info.retry_delay.ToMilliseconds() == milliseconds
    return caught.value.message


# Bounds.


@pytest.mark.parametrize(("rpc", "limit"), [("Sync", 2), ("Async", 2), ("Rows", 1)])
async def test_a_full_queue_is_told_with_when_to_come_back(
    rpc: str, limit: int, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    app = app_of(gate, max_queue_size=3, max_concurrency=limit, max_batch_size=1)
    async with serving(app) as run, client_of(app, run) as client:
        running = calls(run, rpc, limit)
        await until(lambda: gate.inside == limit)
        waiting = calls(run, rpc, 3)
        await until(lambda: waiting_for(run, rpc.lower()) == 3)
        said = await refused(client, rpc.lower())
        assert said == f"model '{rpc.lower()}': the queue is full"
        assert caplog.records == []
        gate.open()
        assert await statuses(running + waiting) == [Status.OK] * (limit + 3)
        assert gate.most == limit


def waiting_for(run: Running, model: str) -> int:
    runner = run.runner(model)
    if isinstance(runner, BatchRunner):
        return runner.batcher.queued
    assert isinstance(runner, SingleRunner)
    return runner.limiter.waiting


async def test_calls_beyond_the_bound_of_the_app_are_refused_whatever_they_call() -> None:
    gate = Gate()
    app = app_of(gate, max_concurrent_requests=3)
    async with serving(app) as run, client_of(app, run) as client:
        running = calls(run, "Sync", 1) + calls(run, "Async", 1) + calls(run, "Rows", 1)
        await until(lambda: gate.inside == 3)
        for model in ("sync", "rows", "items", "async-items"):
            assert await refused(client, model) == "the server: the queue is full"
        gate.open()
        assert await statuses(running) == [Status.OK] * 3
        assert (await run.answer("Sync", THREE)).status is Status.OK


@pytest.mark.parametrize("rpc", ["Sync", "Async"])
async def test_no_more_calls_of_a_model_run_at_one_time_than_may(rpc: str) -> None:
    gate = Gate()
    async with serving(app_of(gate, max_concurrency=3)) as run:
        tasks = calls(run, rpc, 12)
        await until(lambda: waiting_for(run, rpc.lower()) == 9)
        assert gate.inside == 3
        gate.open()
        assert await statuses(tasks) == [Status.OK] * 12
    assert gate.most == 3


async def test_batches_run_side_by_side_only_as_many_as_may() -> None:
    gate = Gate()
    app = app_of(gate, max_concurrency=2, max_batch_size=4, batch_timeout_ms=0)
    async with serving(app) as run:
        tasks = calls(run, "Rows", 24)
        await until(lambda: gate.inside == 2)
        gate.open()
        assert await statuses(tasks) == [Status.OK] * 24
    assert gate.most == 2


async def test_a_batch_waits_for_a_request_whose_headers_have_come() -> None:
    gate = Gate()
    gate.open()
    async with serving(app_of(gate, batch_timeout_ms=1000 * PATIENCE)) as run:
        path = "/blazerpc.InferenceService/PredictRows"
        async with run.channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes) as stream:
            await stream.send_request()
            await until(lambda: run.servicer.calls.running == 1)
            (other,) = calls(run, "Rows", 1)
            await until(lambda: waiting_for(run, "rows") == 1)
            assert gate.calls == 0
            await stream.send_message(rows_request(2.0), end=True)
            assert await stream.recv_message() == rows_request(2.0)
        assert (await other).messages == [rows_request()]
        assert (await other).trailing["blaze-batch-size"] == "2"
    assert gate.calls == 1


@pytest.mark.parametrize("rpc", ["Sync", "Rows", "Items"])
async def test_a_function_that_is_still_running_counts_after_its_call_was_cancelled(
    rpc: str,
) -> None:
    gate = Gate()
    async with serving(app_of(gate, max_concurrency=1, max_batch_size=1)) as run:
        (first,) = calls(run, rpc, 1)
        await until(lambda: gate.inside == 1)
        first.cancel()
        await asyncio.wait([first])
        others = calls(run, rpc, 3)
        await until(lambda: waiting_for(run, rpc.lower()) == 3)
        for task in others[:2]:
            task.cancel()
        await until(lambda: waiting_for(run, rpc.lower()) == 1)
        assert gate.calls == 1
        gate.open()
        if rpc == "Items":  # it never ends
            others[2].cancel()
        else:
            assert (await others[2]).status is Status.OK
        await until(lambda: gate.inside == 0)
    assert gate.most == 1


@pytest.mark.parametrize("rpc", ["Sync", "Async", "Rows"])
async def test_a_request_that_is_given_up_in_the_queue_is_never_run(rpc: str) -> None:
    gate = Gate()
    async with serving(app_of(gate, max_concurrency=1, max_batch_size=1)) as run:
        running = calls(run, rpc, 1)
        await until(lambda: gate.calls == 1)
        waiting = calls(run, rpc, 20)
        await until(lambda: waiting_for(run, rpc.lower()) == 20)
        for task in waiting:
            task.cancel()
        await until(lambda: waiting_for(run, rpc.lower()) == 0)
        gate.open()
        assert await statuses(running) == [Status.OK]
    assert gate.calls == 1


async def test_the_earliest_deadline_runs_first_when_calls_wait() -> None:
    order: list[int] = []
    held = threading.Event()
    app = BlazeApp()

    @app.model("model", max_concurrency=1)
    def model(x: int) -> int:
        order.append(x)
        held.wait(PATIENCE)
        return x

    async with serving(app) as run:
        first = asyncio.create_task(run.answer("Model", b"\x08\x00"))
        await until(lambda: order == [0])
        tasks = []
        for x, timeout in [(1, None), (2, 20.0), (3, 4.0), (4, 8.0)]:
            tasks.append(asyncio.create_task(run.answer("Model", bytes([8, x]), timeout=timeout)))
            await until(lambda: waiting_for(run, "model") == len(tasks))
        held.set()
        assert await statuses([first, *tasks]) == [Status.OK] * 5
    assert order == [0, 3, 4, 2, 1]


# Nothing is left.


def closing() -> Iterator[int]:
    yield 1


async def closing_async() -> AsyncIterator[int]:
    yield 1


def with_dependencies(app: BlazeApp) -> None:
    @app.model("dependent")
    def dependent(x: int, a: int = Depends(closing), b: int = Depends(closing_async)) -> int:
        threading.Event().wait(0.001)
        return x


def left_of(run: Running) -> list[str]:
    """Return what the server still has of calls."""
    counts = {"calls": run.servicer.calls.running, "refused": run.servicer.calls.waiting}
    for runner in run.servicer.runners:
        name = runner.model.name
        counts[f"{name} waiting"] = waiting_for(run, name)
        if isinstance(runner, BatchRunner):
            counts[f"{name} running"] = runner.batcher.running
            counts[f"{name} groups"] = len(runner.batcher._groups)
            counts[f"{name} incoming"] = len(runner.batcher._incoming)
        else:
            assert isinstance(runner, SingleRunner)
            counts[f"{name} running"] = runner.limiter.running
    return [f"{what}: {count}" for what, count in counts.items() if count]


def threads_of(run: Running) -> list[threading.Thread]:
    models = tuple(f"blazerpc-{runner.model.name}-" for runner in run.servicer.runners)
    return [thread for thread in threading.enumerate() if thread.name.startswith(models)]


async def storm(run: Running, count: int) -> None:
    """Call and cancel: what is not sent, is queued, runs, or is answered."""
    rpcs = ["Sync", "Async", "Rows", "Items", "AsyncItems", "Dependent"]
    begun: list[asyncio.Task[Answer]] = []
    for number in range(count):
        begun += calls(run, rpcs[number % len(rpcs)], 1)
        if number % 100 == 99:
            # Some at once, some in time that the server has for them, some at their end.
            for turn, task in enumerate(begun[-100:]):
                await asyncio.sleep(0 if turn % 10 else 0.001)
                task.cancel()
    # Others than cancellations among them: so many resets may cost a client its connection.
    await asyncio.gather(*begun, return_exceptions=True)


@pytest.mark.parametrize("is_open", [True, False], ids=["quick models", "slow models"])
async def test_after_a_storm_of_cancelled_calls_nothing_is_left(
    is_open: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    app = app_of(gate, max_concurrency=4, max_batch_size=8)
    with_dependencies(app)
    async with serving(app) as run:
        if is_open:
            gate.open()
        tasks = len(asyncio.all_tasks())
        await storm(run, 2000)
        assert gate.calls > (100 if is_open else 10)
        if not is_open:  # functions run on when their calls are cancelled
            assert gate.inside > 0
            gate.open()
        await until(lambda: left_of(run) == [])
        await until(lambda: len(asyncio.all_tasks()) <= tasks + 1)  # the connection's own
        assert gate.inside == 0
        threads = threads_of(run)
        assert len(threads) <= 4 * len(run.servicer.runners)
        for rpc in ("Sync", "Async", "Rows", "Dependent"):
            assert await statuses(calls(run, rpc, 2)) == [Status.OK] * 2
    for thread in threads:
        await asyncio.to_thread(thread.join, PATIENCE)
        assert not thread.is_alive()
    # Who has given up has not failed.
    assert [record.getMessage() for record in caplog.records] == []
