"""Dependencies of a call: made before it, closed after it, whatever becomes of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, Depends, InferenceError, Tensor
from tests.unit.blazerpc.support import PATIENCE, client_of, serving, until

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 1)]

#: int field 1 of value 3.
THREE = b"\x08\x03"


class Journal:
    """A dependency in four kinds, and what became of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def plain(self) -> Journal:
        assert threading.current_thread() is not threading.main_thread()
        self.lines.append("made")
        return self

    async def coroutine(self) -> Journal:
        assert threading.current_thread() is threading.main_thread()
        self.lines.append("made")
        return self

    def generator(self) -> Iterator[Journal]:
        assert threading.current_thread() is not threading.main_thread()
        self.lines.append("made")
        try:
            yield self
        except BaseException as error:
            self.lines.append(type(error).__name__)
            raise
        finally:
            assert threading.current_thread() is not threading.main_thread()
            self.lines.append("closed")

    async def async_generator(self) -> AsyncIterator[Journal]:
        self.lines.append("made")
        try:
            yield self
        except BaseException as error:
            self.lines.append(type(error).__name__)
            raise
        finally:
            await asyncio.sleep(0)
            self.lines.append("closed")

    def of_kind(self, kind: str) -> Callable[[], Any]:
        function: Callable[[], Any] = getattr(self, kind)
        return function


KINDS = ["plain", "coroutine", "generator", "async_generator"]
YIELDING = ["generator", "async_generator"]


def app_with(dependency: Callable[..., Any]) -> BlazeApp:
    """Return an app of models that write into the journal that they depend on."""
    app = BlazeApp()
    journal = Depends(dependency)

    @app.model("sync")
    def sync(x: int, j: Journal = journal) -> int:
        j.lines.append("called")
        return _checked(x)

    @app.model("async")
    async def async_(x: int, j: Journal = journal) -> int:
        j.lines.append("called")
        return _checked(x)

    @app.model("items")
    def items(x: int, j: Journal = journal) -> Iterator[int]:
        for number in range(x):
            j.lines.append("item")
            yield number
        _checked(x)

    @app.model("async-items")
    async def async_items(x: int, j: Journal = journal) -> AsyncIterator[int]:
        for number in range(x):
            await asyncio.sleep(0)
            j.lines.append("item")
            yield number
        _checked(x)

    @app.model("rows")
    def rows(x: Rows, j: Journal = journal) -> Rows:
        j.lines.append("called")
        return x

    return app


def _checked(x: int) -> int:
    if x == 0:
        raise ValueError("nothing")
    if x == 1:
        raise GRPCError(Status.NOT_FOUND, "no such thing")
    return x


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rpc", ["Sync", "Async", "Items", "AsyncItems"])
async def test_a_dependency_is_made_for_the_call_and_closed_after_it(kind: str, rpc: str) -> None:
    journal = Journal()
    async with serving(app_with(journal.of_kind(kind))) as run:
        for _ in range(2):
            journal.lines.clear()
            assert (await run.answer(rpc, THREE)).status is Status.OK
            calls = ["item"] * 3 if "Items" in rpc else ["called"]
            assert journal.lines == ["made", *calls] + ["closed"] * (kind in YIELDING)


@pytest.mark.parametrize("kind", YIELDING)
@pytest.mark.parametrize("rpc", ["Sync", "Async", "Items", "AsyncItems"])
@pytest.mark.parametrize("x", [0, 1])
async def test_one_that_yields_sees_the_failure_of_the_model_and_is_closed(
    kind: str, rpc: str, x: int
) -> None:
    journal = Journal()
    async with serving(app_with(journal.of_kind(kind))) as run:
        answer = await run.answer(rpc, bytes([8, x]))
    assert answer.status is (Status.NOT_FOUND if x else Status.INTERNAL)
    seen = "GRPCError" if x else "InferenceError"
    assert [line for line in journal.lines if line not in ("item", "called")] == [
        "made",
        seen,
        "closed",
    ]


@pytest.mark.parametrize("kind", YIELDING)
async def test_a_batch_has_one_of_its_own(kind: str) -> None:
    journal = Journal()
    app = app_with(journal.of_kind(kind))
    async with serving(app) as run, client_of(app, run) as client:
        x = np.zeros((1, 1), np.float32)
        await asyncio.gather(*(client.predict("rows", x=x) for _ in range(16)))
    batches = len(journal.lines) // 3
    assert journal.lines == ["made", "called", "closed"] * batches
    assert batches <= 4


# Calls that are cancelled.


@pytest.mark.parametrize("kind", YIELDING)
async def test_one_that_yields_is_closed_when_the_call_is_cancelled(kind: str) -> None:
    journal, started = Journal(), asyncio.Event()
    app, dependency = BlazeApp(), journal.of_kind(kind)

    @app.model("hang")
    async def hang(x: int, j: Any = Depends(dependency)) -> int:
        started.set()
        await asyncio.sleep(PATIENCE)
        return x

    async with serving(app) as run:
        call = asyncio.create_task(run.call("Hang", THREE))
        await started.wait()
        call.cancel()
        await until(lambda: journal.lines == ["made", "CancelledError", "closed"])


@pytest.mark.parametrize("kind", YIELDING)
@pytest.mark.parametrize("rpc", ["Items", "AsyncItems"])
async def test_one_that_yields_is_closed_when_the_client_leaves_a_stream(
    kind: str, rpc: str
) -> None:
    journal = Journal()
    app = app_with(journal.of_kind(kind))
    name = {"Items": "items", "AsyncItems": "async-items"}[rpc]
    async with serving(app) as run:
        async with client_of(app, run) as client:
            stream = client.stream(name, x=1 << 40)
            assert await anext(stream) == 0
        await until(lambda: journal.lines[-1] == "closed")
    assert journal.lines.count("closed") == 1


@pytest.mark.parametrize("timeout", [None, 0.2], ids=["cancelled", "deadline"])
@pytest.mark.parametrize("kind", YIELDING)
async def test_one_that_a_function_still_uses_is_closed_when_that_has_ended(
    kind: str, timeout: float | None
) -> None:
    journal, started, go = Journal(), threading.Event(), threading.Event()
    app, dependency = BlazeApp(), journal.of_kind(kind)

    @app.model("slow")
    def slow(x: int, j: Journal = Depends(dependency)) -> int:
        started.set()
        go.wait(PATIENCE)
        j.lines.append("used")
        return x

    async with serving(app) as run:
        call = asyncio.create_task(run.call("Slow", THREE, timeout=timeout))
        await until(started.is_set)
        if timeout is None:
            call.cancel()
        await asyncio.wait([call])
        await asyncio.sleep(0.02)  # the server learns of it meanwhile
        go.set()
        await until(lambda: "closed" in journal.lines)
    assert journal.lines == ["made", "used", "CancelledError", "closed"]


@pytest.mark.parametrize("kind", YIELDING)
async def test_one_that_a_generator_still_uses_is_closed_when_that_has_ended(kind: str) -> None:
    journal, started, go = Journal(), threading.Event(), threading.Event()
    app, dependency = BlazeApp(), journal.of_kind(kind)

    @app.model("slow")
    def slow(x: int, j: Journal = Depends(dependency)) -> Iterator[int]:
        try:
            started.set()
            go.wait(PATIENCE)
            yield x
        finally:
            j.lines.append("used")

    async with serving(app) as run:
        call = asyncio.create_task(run.answer("Slow", THREE))
        await until(started.is_set)
        call.cancel()
        await asyncio.wait([call])
        go.set()
        await until(lambda: "closed" in journal.lines)
    made, used, _, closed = journal.lines
    assert (made, used, closed) == ("made", "used", "closed")


async def test_one_that_is_still_being_made_is_closed_too() -> None:
    journal, started, go = Journal(), threading.Event(), threading.Event()
    app = BlazeApp()

    def slow() -> Iterator[int]:
        started.set()
        go.wait(PATIENCE)
        try:
            yield 1
        finally:
            journal.lines.append("closed")

    @app.model("never")
    def never(x: int, j: int = Depends(slow)) -> int:
        raise AssertionError

    async with serving(app) as run:
        call = asyncio.create_task(run.call("Never", THREE))
        await until(started.is_set)
        call.cancel()
        await asyncio.wait([call])
        go.set()
        await until(lambda: journal.lines == ["closed"])


# What they may do.


def swallow() -> Iterator[int]:
    with suppress(Exception):
        yield 1


async def swallow_async() -> AsyncIterator[int]:
    with suppress(Exception):
        yield 1


@pytest.mark.parametrize("swallowing", [swallow, swallow_async])
@pytest.mark.parametrize("kind", YIELDING)
async def test_one_that_swallows_the_failure_hides_it_from_nobody(
    swallowing: Callable[[], Any], kind: str
) -> None:
    journal, app = Journal(), BlazeApp()
    dependency = journal.of_kind(kind)

    @app.model("fail")
    def fail(x: int, a: Any = Depends(dependency), b: Any = Depends(swallowing)) -> int:
        raise ValueError("bad")

    @app.model("fail-stream")
    async def fail_stream(
        x: int, a: Any = Depends(dependency), b: Any = Depends(swallowing)
    ) -> AsyncIterator[int]:
        yield x
        raise ValueError("bad")

    async with serving(app) as run:
        assert (await run.answer("Fail", THREE)).status is Status.INTERNAL
        assert journal.lines == ["made", "InferenceError", "closed"]
        answer = await run.answer("FailStream", THREE)
        assert (answer.messages, answer.status) == ([THREE], Status.INTERNAL)
        assert journal.lines == ["made", "InferenceError", "closed"] * 2


def raising(kind: str, how: str) -> Callable[[], Any]:
    errors: dict[str, BaseException] = {
        "grpc": GRPCError(Status.UNAUTHENTICATED, "who are you?"),
        "value": ValueError("the secret"),
        "inference": InferenceError("the secret"),
        "stop": StopIteration(),
        "exit": SystemExit("the secret"),
    }

    def plain() -> Any:
        raise errors[how]

    async def coroutine() -> Any:
        raise errors[how]

    def generator() -> Iterator[Any]:
        yield plain()

    async def async_generator() -> AsyncIterator[Any]:
        yield plain()

    return dict(zip(KINDS, [plain, coroutine, generator, async_generator], strict=True))[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["grpc", "value", "inference", "stop", "exit"])
async def test_one_that_raises_fails_the_call_before_the_model(kind: str, how: str) -> None:
    app, called, dependency = BlazeApp(), list[int](), raising(kind, how)

    @app.model("never")
    def never(x: int, j: Any = Depends(dependency)) -> int:
        called.append(x)
        return x

    async with serving(app) as run:
        error = await run.failure("Never", THREE)
    assert error.status is (Status.UNAUTHENTICATED if how == "grpc" else Status.INTERNAL)
    assert "secret" not in (error.message or "")
    assert called == []


@pytest.mark.parametrize("kind", YIELDING)
async def test_one_that_raises_when_it_is_closed_fails_the_call(kind: str) -> None:
    def generator() -> Iterator[int]:
        yield 1
        raise GRPCError(Status.ABORTED, "not committed")

    async def async_generator() -> AsyncIterator[int]:
        yield 1
        raise GRPCError(Status.ABORTED, "not committed")

    app, dependency = BlazeApp(), generator if kind == "generator" else async_generator

    @app.model("model")
    def model(x: int, j: Any = Depends(dependency)) -> int:
        return x

    async with serving(app) as run:
        answer = await run.answer("Model", THREE)
    assert (answer.messages, answer.status) == ([], Status.ABORTED)


async def test_the_others_are_closed_when_one_cannot_be_made() -> None:
    journal, app, refuse = Journal(), BlazeApp(), raising("plain", "grpc")

    @app.model("never")
    def never(
        x: int,
        a: Any = Depends(journal.generator),
        b: Any = Depends(journal.async_generator),
        c: Any = Depends(refuse),
    ) -> int:
        return x

    async with serving(app) as run:
        assert (await run.failure("Never", THREE)).status is Status.UNAUTHENTICATED
    assert journal.lines == ["made", "made", *["GRPCError", "closed"] * 2]
