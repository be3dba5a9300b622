from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpclib.const import Cardinality, Status
from grpclib.events import RecvRequest, SendTrailingMetadata
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, ConfigurationError
from blazerpc.server import ExceptionMiddleware, Middleware
from blazerpc.server.calls import Call
from tests.unit.blazerpc.support import Running, serving

MODELS = "/blazerpc.InferenceService/Predict"
WAIT = b"\x08\x01"


class Gate:
    """Holds calls until it is opened."""

    def __init__(self) -> None:
        self.waiting = 0
        self.open = asyncio.Event()


def make_app(gate: Gate, *middleware: Middleware) -> BlazeApp:
    app = BlazeApp(middleware=middleware)

    @app.model("echo")
    async def echo(wait: bool) -> bool:
        if wait:
            gate.waiting += 1
            await gate.open.wait()
        return wait

    @app.model("count")
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number
        if to == 3:
            raise LookupError("the secret")

    @app.model("fail")
    def fail(key: str) -> str:
        errors: dict[str, Exception] = {"key": KeyError("k"), "lookup": LookupError("l")}
        raise errors.get(key, ValueError("the secret"))

    return app


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.mark.parametrize(
    ("key", "status", "message"),
    [
        (b"\x0a\x03key", Status.NOT_FOUND, "'k'"),
        (b"\x0a\x06lookup", Status.UNAVAILABLE, "l"),
        (b"", Status.INTERNAL, "model 'fail' failed; error id "),
    ],
)
async def test_the_nearest_class_of_an_exception_decides_its_status(
    gate: Gate, key: bytes, status: Status, message: str
) -> None:
    mapped = ExceptionMiddleware({LookupError: Status.UNAVAILABLE, KeyError: Status.NOT_FOUND})
    async with serving(make_app(gate, mapped)) as run:
        error = await run.failure("Fail", key)
    assert error.status is status
    assert (error.message or "").startswith(message)
    assert "secret" not in (error.message or "")


async def test_later_mappings_go_over_earlier_ones(gate: Gate) -> None:
    first = ExceptionMiddleware({KeyError: Status.NOT_FOUND, ValueError: Status.ABORTED})
    second = ExceptionMiddleware({KeyError: Status.OUT_OF_RANGE})
    async with serving(make_app(gate, first, second)) as run:
        assert (await run.failure("Fail", b"\x0a\x03key")).status is Status.OUT_OF_RANGE
        assert (await run.failure("Fail")).status is Status.ABORTED


def test_a_failure_cannot_be_ok() -> None:
    with pytest.raises(ConfigurationError, match="cannot have the status OK"):
        ExceptionMiddleware({KeyError: Status.OK})


class Recorder(Middleware):
    """Notes what it sees."""

    def __init__(self, name: str, seen: list[str]) -> None:
        self._name = name
        self._seen = seen

    async def on_request(self, event: RecvRequest) -> None:
        self._seen.append(f"{self._name} request")
        event.metadata.add("seen-by", self._name)

    async def on_response(self, event: SendTrailingMetadata) -> None:
        self._seen.append(f"{self._name} response {event.status.name}")
        event.metadata.add("answered-by", self._name)

    def on_start(self, call: Call) -> None:
        assert call.status is None
        self._seen.append(f"{self._name} start")

    def on_finish(self, call: Call) -> None:
        assert call.status is not None
        self._seen.append(f"{self._name} finish {call.status.name}")


class Refusing(Middleware):
    """Lets nothing through."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def on_request(self, event: RecvRequest) -> None:
        raise self._error


async def test_the_first_middleware_sees_a_call_first(gate: Gate) -> None:
    seen: list[str] = []
    async with serving(make_app(gate, Recorder("a", seen), Recorder("b", seen))) as run:
        await run.call("Echo", b"")
    assert seen[:4] == ["a start", "b start", "a request", "b request"]
    assert sorted(seen[4:]) == ["a finish OK", "a response OK", "b finish OK", "b response OK"]


async def test_a_call_that_is_refused_is_finished_too(gate: Gate) -> None:
    seen: list[str] = []
    refusing = Refusing(GRPCError(Status.PERMISSION_DENIED, "not you"))
    async with serving(make_app(gate, Recorder("a", seen), refusing)) as run:
        error = await run.failure("Echo")
        assert (error.status, error.message) == (Status.PERMISSION_DENIED, "not you")
    assert seen.count("a finish PERMISSION_DENIED") == 1


async def test_one_behind_a_refusal_sees_the_beginning_and_the_end(gate: Gate) -> None:
    seen: list[str] = []
    refusing = Refusing(GRPCError(Status.PERMISSION_DENIED, "not you"))
    async with serving(make_app(gate, refusing, Recorder("b", seen))) as run:
        await run.failure("Echo")
    assert [line for line in seen if "response" not in line] == [
        "b start",
        "b finish PERMISSION_DENIED",
    ]


async def test_a_middleware_that_fails_is_internal_and_tells_the_log(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(make_app(gate, Refusing(RuntimeError("the secret")))) as run:
        error = await run.failure("Echo")
    assert error.status is Status.INTERNAL
    assert (error.message or "").startswith("Refusing failed; error id ")
    assert "the secret" in caplog.text


class Failing(Middleware):
    """Fails where the call goes on regardless."""

    def on_start(self, call: Call) -> None:
        raise RuntimeError("start")

    async def on_response(self, event: SendTrailingMetadata) -> None:
        raise RuntimeError("response")

    def on_finish(self, call: Call) -> None:
        raise RuntimeError("finish")


async def test_an_observer_that_fails_does_not_fail_the_call(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(make_app(gate, Failing())) as run:
        await run.call("Echo", b"")
    assert "Failing failed at the beginning of a call" in caplog.text
    assert "Failing failed on a response" in caplog.text
    assert "Failing failed at the end of a call" in caplog.text


async def test_items_before_a_failure_are_sent(gate: Gate) -> None:
    seen: list[str] = []
    async with serving(make_app(gate, Recorder("a", seen))) as run:
        error = await failure_of_stream(run)
    assert error.status is Status.INTERNAL
    assert seen.count("a finish INTERNAL") == 1


async def failure_of_stream(run: Running) -> GRPCError:
    path = f"{MODELS}Count"
    stream = run.channel.request(path, Cardinality.UNARY_STREAM, bytes, bytes)
    await stream.__aenter__()
    await stream.send_message(b"\x08\x03", end=True)
    assert [await stream.recv_message() for _ in range(4)] == [b"", b"\x08\x01", b"\x08\x02", None]
    with pytest.raises(GRPCError) as caught:
        await stream.__aexit__(None, None, None)
    return caught.value
