from __future__ import annotations

import asyncio
import inspect
import signal
import socket
from typing import Any, assert_type

import pytest

from blazerpc import BlazeApp, ConfigurationError, ExecutionOptions, ServeOptions, ValidationError
from blazerpc.server import LoggingMiddleware
from tests.unit.blazerpc.support import PATIENCE, client_of, serving, until


def double(x: int) -> int:
    """Return twice x."""
    return 2 * x


def test_the_decorator_gives_the_very_function_back() -> None:
    app = BlazeApp()

    @app.model("half")
    def half(x: float) -> float:
        return x / 2

    assert_type(half(4.0), float)
    assert half(4.0) == 2.0
    assert app.model("double")(double) is double
    assert app.registry.get("double").func is double


def test_registration_does_not_call_the_function() -> None:
    app = BlazeApp()

    @app.model("never")
    def never(x: int) -> int:
        raise AssertionError

    assert [model.name for model in app.registry.list_models()] == ["never"]


def test_version_and_streaming_are_passed_on() -> None:
    app = BlazeApp()

    @app.model("letters", version="2", streaming=True)
    def letters(text: str) -> str:  # type: ignore[misc]  # a bare type on a generator is allowed
        yield from text

    model = app.registry.get("letters", "2")
    assert (model.name, model.version, model.streaming) == ("letters", "2", True)


def test_a_decorator_without_a_name_is_refused() -> None:
    # "@app.model" for "@app.model('double')": else the function is gone, and nobody told.
    decorator: Any = BlazeApp().model
    with pytest.raises(ValidationError, match="name"):
        decorator(double)


@pytest.mark.parametrize("version", [2, 1.0, None])
def test_a_version_that_is_no_text_is_refused(version: object) -> None:
    decorator: Any = BlazeApp().model
    with pytest.raises(ValidationError, match=r"model 'double': version .* letters, digits"):
        decorator("double", version=version)(double)


def test_each_app_has_models_of_its_own() -> None:
    one, other = BlazeApp("one"), BlazeApp("other")
    one.model("double")(double)
    assert other.registry.list_models() == []
    other.model("double")(double)


def test_the_signature_is_the_one_users_know() -> None:
    parameters = inspect.signature(BlazeApp).parameters
    assert {name: p.default for name, p in parameters.items() if p.default is not p.empty} == {
        "name": "blazerpc",
        "enable_batching": True,
        "max_batch_size": 32,
        "batch_timeout_ms": 10.0,
        "middleware": None,
        "max_queue_size": 1000,
        "max_concurrency": None,
        "max_concurrent_requests": 4096,
        "lifespan": None,
    }
    assert [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == [
        "name",
        "enable_batching",
        "max_batch_size",
        "batch_timeout_ms",
        "middleware",
    ]
    middleware = [LoggingMiddleware()]
    app = BlazeApp("app", False, 8, 5.0, middleware)
    assert app.options == ExecutionOptions(
        enable_batching=False, max_batch_size=8, batch_timeout_ms=5.0
    )
    assert app.middleware == middleware


def test_batching_options_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="max_batch_size is 0; it must be at least 1"):
        BlazeApp(max_batch_size=0)
    with pytest.raises(ConfigurationError, match="batch_timeout_ms is -1"):
        BlazeApp(batch_timeout_ms=-1)


async def test_an_app_without_models_cannot_be_served() -> None:
    with pytest.raises(ConfigurationError, match="app 'empty' has no models; register one"):
        BlazeApp("empty").server(ServeOptions(port=0))
    with pytest.raises(ConfigurationError, match="app 'empty' has no models; register one"):
        await BlazeApp("empty").serve(port=0)


def test_a_server_of_several_processes_is_refused() -> None:
    app = BlazeApp()
    app.model("double")(double)
    with pytest.raises(ConfigurationError, match="one process; for more, run blaze serve --worke"):
        app.server(ServeOptions(workers=2))


@pytest.mark.parametrize(("host", "port", "named"), [("", 1, "host"), ("127.0.0.1", 1 << 16, "po")])
async def test_an_address_out_of_bounds_is_refused(host: str, port: int, named: str) -> None:
    app = BlazeApp()
    app.model("double")(double)
    with pytest.raises(ConfigurationError, match=named):
        await app.serve(host, port)


async def test_serve_serves_until_a_signal() -> None:
    app = BlazeApp()
    app.model("double")(double)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve = asyncio.create_task(app.serve("127.0.0.1", port))
    await until(lambda: _listens(port))
    # wait() has installed its handler by the time the loop has turned once more.
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        await serve
    assert not _listens(port)


async def test_a_serve_that_is_cancelled_gives_the_port_back() -> None:
    app = BlazeApp()
    app.model("double")(double)
    server = app.server(ServeOptions(port=0))
    await server.listen("127.0.0.1", 0)
    port = server.port
    wait = asyncio.create_task(server.wait())
    await asyncio.sleep(0)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    try:
        assert not _listens(port)
    finally:
        await server.stop()
        await server.wait()


async def test_models_that_are_registered_after_the_server_was_made_are_not_served() -> None:
    app = BlazeApp()
    app.model("double")(double)
    async with serving(app) as run, client_of(app, run) as client:
        app.model("late")(double)
        assert await client.predict("double", x=4) == 8
        error = await run.failure("Late")
    assert error.message == "no such method"


async def test_an_app_can_be_served_again() -> None:
    app = BlazeApp()
    app.model("double")(double)
    for _ in range(2):
        async with serving(app) as run, client_of(app, run) as client:
            assert await client.predict("double", x=4) == 8


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0
