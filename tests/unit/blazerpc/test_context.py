"""What a call knows of itself, and what it makes of it for the model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np
import pytest
from grpclib.const import Status

from blazerpc import BlazeApp, Context, Depends
from tests.unit.blazerpc.support import Running, serving

variable: ContextVar[str] = ContextVar("variable", default="unset")

#: int field 1 of value 3.
THREE = b"\x08\x03"


def app_of(function: Any) -> BlazeApp:
    app = BlazeApp()
    app.model("model")(function)
    return app


# The context.


async def test_a_model_knows_the_call_that_it_serves() -> None:
    seen: list[Context] = []

    def model(x: int, ctx: Context) -> int:
        seen.append(ctx)
        return x

    app = app_of(model)
    app.state.database = "db"
    async with serving(app) as run:
        metadata: dict[str, str | bytes] = {"user": "ann", "token-bin": b"\0\xff"}
        answer = await run.answer("Model", THREE, timeout=50, metadata=metadata)
        await run.answer("Model", THREE)
        (context, without) = seen
        address = context.peer.addr()
        assert address is not None
        assert address[0] == "127.0.0.1"
    assert answer.messages == [THREE]
    assert (context.metadata["user"], context.metadata["token-bin"]) == ("ann", b"\0\xff")
    assert context.method == "/blazerpc.InferenceService/PredictModel"
    assert context.app_state is app.state
    assert context.app_state.database == "db"
    assert context.time_remaining is not None
    assert 40 < context.time_remaining <= 50
    assert (without.deadline, without.time_remaining) == (None, None)
    assert "user" not in without.metadata


async def test_a_dependency_has_the_same_context_as_the_model() -> None:
    seen: list[Context] = []

    def user(ctx: Context) -> str:
        seen.append(ctx)
        return str(ctx.metadata["user"])

    async def model(x: int, ctx: Context, name: str = Depends(user)) -> str:
        seen.append(ctx)
        return name

    async with serving(app_of(model)) as run:
        answers = [run.answer("Model", THREE, metadata={"user": name}) for name in "ab"]
        messages = [answer.messages for answer in await asyncio.gather(*answers)]
    assert messages == [[b"\n\x01a"], [b"\n\x01b"]]
    assert len({id(context) for context in seen}) == 2


# What the client is told at the end.


def unary(x: int, ctx: Context) -> int:
    ctx.set_trailing_metadata("cost", "3")
    ctx.set_trailing_metadata("cost", "4")
    ctx.set_trailing_metadata("trace-bin", b"\0\xff")
    if x == 0:
        raise ValueError("bad")
    return x


def items(x: int, ctx: Context) -> Iterator[int]:
    yield x
    yield unary(x, ctx)


async def async_items(x: int, ctx: Context) -> AsyncIterator[int]:
    for item in items(x, ctx):
        yield item


@pytest.mark.parametrize("model", [unary, items, async_items])
@pytest.mark.parametrize("x", [3, 0])
async def test_what_a_model_sets_is_told_whatever_its_status(model: Any, x: int) -> None:
    async with serving(app_of(model)) as run:
        answer = await run.answer("Model", bytes([8, x]))
    assert answer.status is (Status.OK if x else Status.INTERNAL)
    assert answer.trailing["cost"] == "4"
    assert answer.trailing["trace-bin"] == b"\0\xff"


async def test_a_dependency_can_tell_after_the_call() -> None:
    def timed(ctx: Context) -> Iterator[None]:
        yield
        ctx.set_trailing_metadata("rows-read", "7")

    def model(x: int, t: None = Depends(timed)) -> int:
        return x

    async with serving(app_of(model)) as run:
        assert (await run.answer("Model", THREE)).trailing["rows-read"] == "7"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("grpc-status", "0", "gRPC keeps keys that begin with grpc- to itself"),
        ("Cost", "3", "Cost"),
        ("a key", "3", "a key"),
        (":path", "3", ":path"),
        ("", "3", "''"),
        ("cost", "lines\nof text", "a value is printable ASCII"),
        ("cost", "größe", "a value is printable ASCII"),
        ("cost", b"bytes", "bytes"),
        ("cost-bin", "text", "a value of bytes, and not str"),
        ("cost", 3, "a value of str, and not int"),
        ("content-type", "text/plain", "content-type"),
        ("te", "x", "te"),
    ],
)
async def test_what_headers_cannot_carry_is_refused_where_it_is_set(
    key: str, value: Any, text: str
) -> None:
    def model(x: int, ctx: Context) -> str:
        with pytest.raises(ValueError, match=text):
            ctx.set_trailing_metadata(key, value)
        assert ctx.trailing_metadata == {}
        return "refused"

    async with serving(app_of(model)) as run:
        assert (await run.answer("Model", THREE)).messages == [b"\n\x07refused"]


# How long it took.


def _numbers(trailing: dict[str, Any]) -> tuple[float, float, int]:
    return (
        float(trailing["blaze-queue-ms"]),
        float(trailing["blaze-compute-ms"]),
        int(trailing["blaze-batch-size"]),
    )


async def _provenance(run: Running, request: bytes, status: Status) -> tuple[float, float, int]:
    answer = await run.answer("Model", request)
    assert answer.status is status
    return _numbers(answer.trailing)


def slow(x: int) -> int:
    threading.Event().wait(0.02)
    if x == 0:
        raise ValueError("bad")
    return x


def slow_items(x: int) -> Iterator[int]:
    yield slow(x)


async def slow_async(x: int) -> int:
    await asyncio.sleep(0.02)
    return 10 // x


@pytest.mark.parametrize("model", [slow, slow_items, slow_async])
@pytest.mark.parametrize("x", [3, 0])
async def test_every_answer_tells_how_long_it_waited_and_ran(model: Any, x: int) -> None:
    status = Status.OK if x else Status.INTERNAL
    async with serving(app_of(model)) as run:
        queue, compute, size = await _provenance(run, bytes([8, x]), status)
    assert 0 <= queue < 20
    assert 20 <= compute < 1000
    assert size == 1


async def test_one_that_waits_for_its_turn_is_told_so() -> None:
    app = BlazeApp()
    app.model("model", max_concurrency=1)(slow)
    async with serving(app) as run:
        both = await asyncio.gather(*(run.answer("Model", THREE) for _ in range(2)))
    first, second = sorted(_numbers(answer.trailing)[0] for answer in both)
    assert first < 15 < second


async def test_a_request_that_was_never_run_tells_no_time() -> None:
    async with serving(app_of(slow)) as run:
        answer = await run.answer("Model", b"\xff")
    assert answer.status is Status.INVALID_ARGUMENT
    assert not [key for key in answer.trailing if key.startswith("blaze-")]


# How dependencies are called.


async def test_a_function_that_several_parameters_depend_on_is_called_once() -> None:
    calls: list[str] = []

    class Pool:
        def connection(self) -> object:
            calls.append("connection")
            return object()

    def made() -> object:
        calls.append("made")
        return object()

    pool = Pool()

    def model(
        x: int,
        a: object = Depends(made),
        b: object = Depends(made),
        c: object = Depends(pool.connection),
        d: object = Depends(pool.connection),
    ) -> bool:
        return a is b and c is d and a is not c

    async with serving(app_of(model)) as run:
        assert (await run.answer("Model", THREE)).messages == [b"\x08\x01"]
    assert calls == ["made", "connection"]


class Factory:
    """A callable object."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self) -> str:
        return self.value


class AsyncFactory(Factory):
    async def __call__(self) -> str:  # type: ignore[override]  # another kind
        return self.value


class YieldingFactory(Factory):
    def __call__(self) -> Iterator[str]:  # type: ignore[override]  # another kind
        yield self.value


class AsyncYieldingFactory(Factory):
    async def __call__(self) -> AsyncIterator[str]:  # type: ignore[override]  # another kind
        yield self.value


async def awaited(value: str) -> str:
    return value


async def yielded(value: str) -> AsyncIterator[str]:
    yield value


def gives_an_awaitable() -> Awaitable[str]:
    return awaited("made")


@pytest.mark.parametrize(
    "dependency",
    [
        Factory("made"),
        AsyncFactory("made"),
        YieldingFactory("made"),
        AsyncYieldingFactory("made"),
        Factory("made").__call__,
        partial(awaited, "made"),
        partial(yielded, "made"),
        lambda: awaited("made"),
        gives_an_awaitable,
    ],
    ids=str,
)
async def test_whatever_can_be_called_makes_what_it_says(dependency: Any) -> None:
    def model(x: int, value: str = Depends(dependency)) -> str:
        return value

    async with serving(app_of(model)) as run:
        assert (await run.answer("Model", THREE)).messages == [b"\n\x04made"]


class Settings:
    def __init__(self, ctx: Context) -> None:
        self.user = str(ctx.metadata["user"])


async def test_a_class_is_a_function_that_makes_an_instance() -> None:
    def model(x: int, settings: Settings = Depends(Settings)) -> str:
        return settings.user

    async with serving(app_of(model)) as run:
        answer = await run.answer("Model", THREE, metadata={"user": "ann"})
    assert answer.messages == [b"\n\x03ann"]


async def test_a_synchronous_dependency_sees_the_variables_of_the_call() -> None:
    def seen() -> str:
        return variable.get()

    def seen_by_generator() -> Iterator[str]:
        yield variable.get()

    def model(x: int, a: str = Depends(seen), b: str = Depends(seen_by_generator)) -> str:
        return a + b

    variable.set("ab")  # a server's connections begin in the context that it listens in
    async with serving(app_of(model)) as run:
        assert (await run.answer("Model", THREE)).messages == [b"\n\x04abab"]


async def test_a_synchronous_dependency_may_reset_at_its_end_what_it_has_set() -> None:
    left: list[str] = []

    def quiet() -> Iterator[None]:
        token = variable.set("set")
        with np.errstate(divide="ignore"):
            yield
        variable.reset(token)
        left.append(variable.get())

    def model(x: int, q: None = Depends(quiet)) -> int:
        return x

    async with serving(app_of(model)) as run:
        answers = await asyncio.gather(*(run.answer("Model", THREE) for _ in range(20)))
    assert {answer.status for answer in answers} == {Status.OK}
    assert left == ["unset"] * 20
