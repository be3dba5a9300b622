from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from blazerpc import BlazeApp, ServeOptions
from blazerpc.server import Call, LoggingMiddleware, Middleware
from blazerpc_client.transport.choice import Http
from tests.unit.blazerpc.support import Running, client_of, running, serving, unary

MODELS = "/blazerpc.InferenceService/Predict"
SECRET = "hunter2"


class Knowing(Middleware):
    """Knows everybody."""

    def on_start(self, call: Call) -> None:
        call.principal = "alice\nroot"


def make_app(*middleware: Middleware) -> BlazeApp:
    app = BlazeApp(middleware=middleware)

    @app.model("echo", batch=True)
    def echo(text: list[str]) -> list[str]:
        return text

    return app


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "blazerpc.access")
    return caplog


def lines(log: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in log.records if r.name == "blazerpc.access"]


def calls(log: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [vars(r)["call"] for r in log.records if r.name == "blazerpc.access"]


async def ask(app: BlazeApp, **metadata: str | bytes) -> None:
    """Call the model once, with metadata whose keys have underscores for dashes."""
    sent = {key.replace("_", "-"): value for key, value in metadata.items()}
    async with serving(app) as run, client_of(app, run) as client:
        await client.with_options(metadata=sent).predict("echo", text="abc")


async def test_every_call_is_a_line(log: pytest.LogCaptureFixture) -> None:
    async with serving(make_app(LoggingMiddleware())) as run:
        await run.call("Echo", b"\x0a\x03abc")
        await run.failure("Nothing")
        await run.failure("Echo", b"\xff")
    words = [line.split() for line in lines(log)]
    assert [line[:2] for line in words] == [
        [f"{MODELS}Echo", "OK"],
        [f"{MODELS}Nothing", "UNIMPLEMENTED"],
        [f"{MODELS}Echo", "INVALID_ARGUMENT"],
    ]
    assert all(line[2].endswith("ms") and line[3].startswith("127.0.0.1:") for line in words)
    assert words[0][4:7] == ["request_bytes=5", "response_bytes=5", "batch_size=1"]
    assert words[0][7].startswith("request_id=")
    assert words[2][4:6] == ["request_bytes=1", "response_bytes=0"]


async def test_the_record_has_the_same_for_formatters(log: pytest.LogCaptureFixture) -> None:
    await ask(make_app(LoggingMiddleware(), Knowing()), x_request_id="r-1")
    (call,) = calls(log)
    assert call.pop("peer").startswith("127.0.0.1:")
    assert 0 < call.pop("duration_ms") < 60_000
    assert call == {
        "method": f"{MODELS}Echo",
        "status": "OK",
        "request_bytes": 5,
        "response_bytes": 5,
        "batch_size": 1,
        "request_id": "r-1",
        "principal": "alice\\nroot",
    }


async def test_a_batch_has_its_size(log: pytest.LogCaptureFixture) -> None:
    app = make_app(LoggingMiddleware())
    async with serving(app) as run, client_of(app, run) as client:
        await asyncio.gather(*(client.predict("echo", text="a") for _ in range(5)))
    sizes = [call["batch_size"] for call in calls(log)]
    # Of each batch, as many calls tell its size as it has.
    assert len(sizes) == 5
    assert all(sizes.count(size) % size == 0 for size in sizes)


@pytest.mark.parametrize("given", ["a", "0af7651916cd43dd", "host:8/x_y.z+=@-", "a" * 128])
async def test_a_plain_request_id_is_kept(log: pytest.LogCaptureFixture, given: str) -> None:
    await ask(make_app(LoggingMiddleware()), x_request_id=given)
    assert calls(log)[0]["request_id"] == given


@pytest.mark.parametrize("given", ["a b", "a" * 129, "-x", '"}', "<script>"])
async def test_another_is_replaced(log: pytest.LogCaptureFixture, given: str) -> None:
    await ask(make_app(LoggingMiddleware()), x_request_id=given)
    assert len(calls(log)[0]["request_id"]) == 16
    assert given not in log.text


async def test_calls_without_a_request_id_get_different_ones(log: pytest.LogCaptureFixture) -> None:
    app = make_app(LoggingMiddleware())
    async with serving(app) as run:
        for _ in range(3):
            await run.call("Echo", b"")
    assert len({call["request_id"] for call in calls(log)}) == 3


async def test_metadata_is_logged_where_it_is_asked_for_and_nowhere_else(
    log: pytest.LogCaptureFixture,
) -> None:
    log.set_level(logging.INFO)
    app = make_app(LoggingMiddleware(metadata=["X-Tenant", "blob-bin", "absent"]))
    await ask(
        app,
        authorization=f"Bearer {SECRET}",
        x_tenant="two words",
        blob_bin=b"\x00\xff",
        x_request_id=f"not plain {SECRET}",
    )
    assert calls(log)[0]["metadata"] == {"x-tenant": "two\\x20words", "blob-bin": "00ff"}
    assert lines(log)[0].endswith(" x-tenant=two\\x20words blob-bin=00ff")
    assert SECRET not in log.text
    assert all(SECRET not in repr(vars(record)) for record in log.records)


@pytest.mark.parametrize(
    ("http", "path", "shown"),
    [
        ("h2", "/x\x1b[2Jy z", "/x\\x1b[2Jy"),
        ("blaze", "/x\ty z", "/x\\ty"),  # it lets no other control character in
    ],
)
async def test_what_a_client_makes_up_stays_on_its_line(
    log: pytest.LogCaptureFixture, http: Http, path: str, shown: str
) -> None:
    async with serving(make_app(LoggingMiddleware()), http=http) as run:
        await made_up(run, path)
        await made_up(run, "/" + "y" * 1000)
    first, second = (line.split()[0] for line in lines(log))
    assert first.startswith(shown)
    assert first.isprintable()
    assert first.isascii()
    assert len(second) == 203


async def made_up(run: Running, path: str) -> None:
    with pytest.raises(Exception, match="no such method"):
        await unary(run.channel, path, b"")


async def test_a_logger_that_does_not_listen_gets_nothing(log: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("of-somebody")
    logger.setLevel(logging.WARNING)
    async with serving(make_app(LoggingMiddleware(logger))) as run:
        await run.call("Echo", b"")
        logger.setLevel(logging.INFO)
        await run.call("Echo", b"")
    assert [r.name for r in log.records if "call" in vars(r)] == ["of-somebody"]


async def test_an_app_that_logs_calls_logs_each_once(log: pytest.LogCaptureFixture) -> None:
    for app in make_app(), make_app(LoggingMiddleware()):
        log.clear()
        async with running(app.server(ServeOptions(port=0, access_log=True))) as run:
            await run.call("Echo", b"")
        assert len(lines(log)) == 1
