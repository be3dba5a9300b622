"""What is built before the first call, and closed after the last."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpclib.const import Status

from blazerpc import BlazeApp, Context, Depends, InferenceError, ServeOptions, StartupError
from blazerpc.runtime import ModelExecutor
from tests.unit.blazerpc.support import PATIENCE, registered, serving, unary, until

#: int field 1 of value 3.
THREE = b"\x08\x03"

#: What has happened, in order.
journal: list[str] = []


@pytest.fixture(autouse=True)
def _empty() -> None:
    journal.clear()


def in_thread() -> bool:
    return threading.current_thread() is not threading.main_thread()


class Model:
    """Everything off the event loop."""

    def __init__(self) -> None:
        assert in_thread()
        journal.append("built")

    def warmup(self) -> None:
        assert in_thread()
        journal.append("warm")

    def __call__(self, x: int) -> int:
        assert in_thread()
        journal.append("called")
        return x

    def close(self) -> None:
        assert in_thread()
        journal.append("closed")


class AsyncModel:
    """Everything but the construction on the event loop."""

    def __init__(self) -> None:
        journal.append("built")

    async def warmup(self) -> None:
        assert not in_thread()
        journal.append("warm")

    async def __call__(self, x: int) -> int:
        assert not in_thread()
        journal.append("called")
        return x

    async def close(self) -> None:
        assert not in_thread()
        journal.append("closed")


class Bare:
    def __call__(self, x: int) -> int:
        return x


def app_of(*models: type, lifespan: Any = None) -> BlazeApp:
    app = BlazeApp(lifespan=lifespan)
    for model in models:
        app.model(model.__name__)(model)
    return app


@asynccontextmanager
async def lifespan(app: BlazeApp) -> AsyncIterator[Mapping[str, object]]:
    journal.append("begin")
    app.state.given = "by hand"
    yield {"database": "db"}
    journal.append("end")


# Class models.


@pytest.mark.parametrize("model", [Model, AsyncModel])
async def test_a_class_is_built_once_before_the_first_call_and_closed_after_the_last(
    model: type,
) -> None:
    async with serving(app_of(model)) as run:
        assert journal == ["built", "warm"]
        for _ in range(3):
            assert await run.call(model.__name__, THREE) == THREE
    assert journal == ["built", "warm", "called", "called", "called", "closed"]


async def test_a_class_needs_neither_warmup_nor_close() -> None:
    async with serving(app_of(Bare)) as run:
        assert await run.call("Bare", THREE) == THREE


async def test_each_server_builds_its_own() -> None:
    app = app_of(Model)
    for _ in range(2):
        async with serving(app):
            pass
    assert journal == ["built", "warm", "closed"] * 2


async def test_a_model_keeps_what_it_was_built_with() -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        async def __call__(self, by: int) -> int:
            self.count += by
            return self.count

    async with serving(app_of(Counter)) as run:
        assert await run.call("Counter", THREE) == b"\x08\x03"
        assert await run.call("Counter", THREE) == b"\x08\x06"


async def test_a_class_can_be_a_stream() -> None:
    class Items:
        async def __call__(self, x: int) -> AsyncIterator[int]:
            yield x
            yield x

    async with serving(app_of(Items)) as run:
        assert (await run.answer("Items", THREE)).messages == [THREE, THREE]


async def test_a_class_that_is_not_built_yet_says_so() -> None:
    executor = ModelExecutor(registered(Bare))
    with pytest.raises(InferenceError, match="the model has not been built"):
        await executor.execute({"x": 3})
    await executor.start()
    assert await executor.execute({"x": 3}) == 3
    await executor.close()


async def test_a_close_that_fails_is_logged_and_hinders_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Sticky(Bare):
        def close(self) -> None:
            raise ValueError("will not close")

    async with serving(app_of(Model, Sticky, lifespan=lifespan)):
        journal.clear()
    assert journal == ["closed", "end"]
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage() == "closing model 'Sticky' failed"
    assert "will not close" in caplog.text


# The lifespan.


async def test_the_lifespan_is_around_the_models() -> None:
    app = app_of(Model, AsyncModel, lifespan=lifespan)
    async with serving(app):
        assert journal == ["begin", *["built", "warm"] * 2]
    assert journal[5:] == ["closed", "closed", "end"]


async def test_what_the_lifespan_gives_reaches_the_app_and_its_calls() -> None:
    app = BlazeApp(lifespan=lifespan)

    @app.model("model")
    def model(x: int, ctx: Context) -> str:
        return f"{ctx.app_state.database} {ctx.app_state.given}"

    async with serving(app) as run:
        assert app.state.database == "db"
        assert await run.call("Model", THREE) == b"\n\x0adb by hand"


async def test_a_lifespan_may_give_nothing() -> None:
    @asynccontextmanager
    async def nothing(app: BlazeApp) -> AsyncIterator[None]:
        app.state.ready = True
        yield

    app = app_of(Bare, lifespan=nothing)
    async with serving(app):
        assert app.state.ready


async def test_models_may_use_what_the_lifespan_has_made() -> None:
    app = BlazeApp(lifespan=lifespan)

    @app.model("model")
    class UsesState:
        def __init__(self) -> None:
            self.database = str(app.state.database)

        def __call__(self, x: int) -> str:
            return self.database

    async with serving(app) as run:
        assert await run.call("Model", THREE) == b"\n\x02db"


# A start-up that fails.


def raising(text: str) -> Any:
    raise ValueError(text)


@asynccontextmanager
async def failing_lifespan(app: BlazeApp) -> AsyncIterator[None]:
    raising("no database")
    yield


@asynccontextmanager
async def lifespan_of_a_number(app: BlazeApp) -> AsyncIterator[Any]:
    try:
        yield 3
    finally:
        journal.append("end")


async def lifespan_without_decorator(app: BlazeApp) -> AsyncIterator[None]:
    yield


def lifespan_without_an_app() -> Any:
    raise AssertionError


class FailingConstructor(Bare):
    def __init__(self) -> None:
        raising("no weights")


class FailingWarmup(Bare):
    def warmup(self) -> None:
        raising("no device")

    def close(self) -> None:
        journal.append("closed")


class FailingAsyncWarmup(Bare):
    async def warmup(self) -> None:
        raising("no device")


class ExitingConstructor(Bare):
    def __init__(self) -> None:
        raise SystemExit("no license")


@pytest.mark.parametrize(
    ("models", "span", "text"),
    [
        ([Bare], failing_lifespan, "the lifespan failed: ValueError: no database ("),
        ([Bare], lifespan_of_a_number, "the lifespan gave int; it may give a mapping, or nothing"),
        ([Bare], lifespan_without_decorator, "the lifespan failed: AttributeError: "),
        ([Bare], lifespan_without_an_app, "the lifespan failed: TypeError: "),
        (
            [Model, FailingConstructor],
            lifespan,
            "model 'FailingConstructor': FailingConstructor() failed: ValueError: no weights (",
        ),
        (
            [Model, FailingWarmup],
            lifespan,
            "model 'FailingWarmup': FailingWarmup.warmup() failed: ValueError: no device (",
        ),
        (
            [FailingAsyncWarmup],
            lifespan,
            "model 'FailingAsyncWarmup': FailingAsyncWarmup.warmup() failed: ValueError: no dev",
        ),
        (
            [ExitingConstructor],
            lifespan,
            "model 'ExitingConstructor': ExitingConstructor() failed: SystemExit: no license",
        ),
    ],
)
async def test_a_start_up_that_fails_says_what_failed_and_ends_what_had_begun(
    models: list[type], span: Callable[[BlazeApp], Any], text: str
) -> None:
    server = app_of(*models, lifespan=span).server(ServeOptions(port=0))
    with pytest.raises(StartupError) as caught:
        await server.listen(port=0)
    assert str(caught.value).startswith(text)
    assert "\n" not in str(caught.value)
    assert not server.is_serving
    for first, last in [("built", "closed"), ("begin", "end")]:
        assert journal.count(first) <= journal.count(last)
    if models[-1] is FailingWarmup:
        assert journal[-3:] == ["closed", "closed", "end"]


@pytest.mark.parametrize("model", [FailingConstructor, FailingWarmup])
async def test_after_a_start_up_that_failed_nothing_listens(model: type) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = app_of(model).server(ServeOptions(port=port))
    with pytest.raises(StartupError):
        await server.listen("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


async def test_while_models_are_built_connections_are_refused_and_a_stop_ends_it() -> None:
    warming = asyncio.Event()

    class Slow(Bare):
        async def warmup(self) -> None:
            warming.set()
            await asyncio.sleep(PATIENCE)

    server = app_of(Slow, lifespan=lifespan).server(ServeOptions(port=0))
    starting = asyncio.create_task(server.start(port=0))
    await warming.wait()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)
    await server.stop()
    async with asyncio.timeout(PATIENCE / 2):
        await starting
    assert journal == ["begin", "end"]


async def test_health_is_serving_only_when_the_models_are_built() -> None:
    app = app_of(Model)
    async with serving(app) as run:
        path = "/grpc.health.v1.Health/Check"
        assert journal == ["built", "warm"]
        assert await unary(run.channel, path, b"") == b"\x08\x01"
        assert (await run.answer("Model", THREE)).status is Status.OK


async def test_a_function_that_does_not_end_keeps_no_server_from_its_end() -> None:
    started, go = threading.Event(), threading.Event()
    app = BlazeApp()

    async def closed() -> AsyncIterator[str]:
        try:
            yield "made"
        finally:
            journal.append("closed")

    @app.model("stuck")
    def stuck(x: int, j: str = Depends(closed)) -> int:
        started.set()
        go.wait(10 * PATIENCE)
        return x

    async with serving(app, grace=0.05) as run:
        call = asyncio.create_task(run.call("Stuck", THREE))
        await until(started.is_set)
        call.cancel()
        await run.stop()
    await until(lambda: journal == ["closed"])
    go.set()


async def test_a_model_is_not_closed_under_a_call_that_outlived_the_grace_period() -> None:
    started, go = threading.Event(), threading.Event()

    class Slow(Model):
        def __call__(self, x: int) -> int:
            started.set()
            go.wait(PATIENCE)
            journal.append("returned")
            return x

    app = BlazeApp()
    app.model("model", max_concurrency=1)(Slow)
    async with serving(app, grace=0.0) as run:
        call = asyncio.create_task(run.call("Model", THREE))
        await until(started.is_set)
        await run.server.stop()
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the transport calls it
            await call
        assert "closed" not in journal
        go.set()
    assert journal[-2:] == ["returned", "closed"]
