from __future__ import annotations

import asyncio
import logging
import math
import re
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, Tensor
from blazerpc.codegen import InferenceServicer, build_servicer
from blazerpc.runtime import ModelRegistry
from tests.unit.blazerpc.support import PATIENCE, Running, client_of, field, serving

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 2)]
Totals = Annotated[npt.NDArray[np.float32], Tensor("batch")]

app = BlazeApp("servicer")


@app.model("greet")
def greet(name: str, times: int) -> str:
    return name * times


@app.model("greet", version="2")
async def greet_async(name: str) -> str:
    return f"hello {name}"


@app.model("sum-rows")
def sum_rows(x: Rows, weights: Totals) -> Totals:
    totals: npt.NDArray[np.float32] = x.sum(axis=1) * weights
    return totals


@app.model("count")
async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


@app.model("halves")
def halves(x: Rows) -> Iterator[Annotated[npt.NDArray[np.float32], Tensor("rows", 2)]]:
    while len(x):
        x = x[: len(x) // 2]
        yield x


@app.model("tally")
def tally(x: Rows) -> Iterator[Totals]:
    yield np.zeros(len(x), np.float32)
    yield np.zeros(len(x) + 1, np.float32)


@app.model("divide")
def divide(a: np.float64, b: np.float64) -> np.float64:
    with np.errstate(divide="ignore"):
        return a / b


@app.model("answer")
def answer(how: str) -> int:
    values: dict[str, Any] = {"text": "the secret", "float": 1.5, "none": None, "big": 1 << 63}
    if how in values:
        result: int = values[how]
        return result
    errors: dict[str, BaseException] = {
        "raise": RuntimeError("the secret"),
        "exit": SystemExit("the secret"),
        "grpc": GRPCError(Status.FAILED_PRECONDITION, "warm up first", [BadRequest()]),
        "no text": GRPCError(Status.FAILED_PRECONDITION),
        "lines": GRPCError(Status.FAILED_PRECONDITION, "è\n100%\0"),
        "surrogate": GRPCError(Status.FAILED_PRECONDITION, "file \udcff"),
        "no message": GRPCError(Status.FAILED_PRECONDITION, KeyError("x")),  # type: ignore[arg-type]  # a likely mistake
        "no details": GRPCError(Status.FAILED_PRECONDITION, "text", "details"),
        "ok": GRPCError(Status.OK, "all is well"),
        "long": GRPCError(Status.FAILED_PRECONDITION, "x" * 200_000),
    }
    raise errors[how]


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with serving(app) as run:
        yield run


def text_of(response: bytes) -> str:
    assert response[0] == 1 << 3 | 2
    return response[2:].decode()


GREET = field(1, b"ab") + b"\x10\x02"


def test_the_table_has_every_model_and_no_more() -> None:
    servicer = build_servicer(app.registry)
    assert isinstance(servicer, InferenceServicer)
    mapping = servicer.__mapping__()
    service = "/blazerpc.InferenceService"
    assert {path: handler.cardinality for path, handler in mapping.items()} == {
        f"{service}/PredictGreet": Cardinality.UNARY_UNARY,
        f"{service}/PredictGreetV2": Cardinality.UNARY_UNARY,
        f"{service}/PredictSumRows": Cardinality.UNARY_UNARY,
        f"{service}/PredictCount": Cardinality.UNARY_STREAM,
        f"{service}/PredictHalves": Cardinality.UNARY_STREAM,
        f"{service}/PredictTally": Cardinality.UNARY_STREAM,
        f"{service}/PredictDivide": Cardinality.UNARY_UNARY,
        f"{service}/PredictAnswer": Cardinality.UNARY_UNARY,
    }


def test_a_registry_without_models_is_an_empty_table() -> None:
    assert build_servicer(ModelRegistry()).__mapping__() == {}


async def test_a_model_is_called_and_its_result_sent(server: Running) -> None:
    assert text_of(await server.call("Greet", GREET)) == "abab"
    assert text_of(await server.call("GreetV2", field(1, b"you"))) == "hello you"


async def test_scalars_that_are_left_out_are_zero(server: Running) -> None:
    assert await server.call("Greet", b"") == b""


async def test_tensors_are_checked_together_and_results_against_them(server: Running) -> None:
    async with client_of(app, server) as client:
        x = np.arange(6, dtype=np.float32).reshape(3, 2)
        totals = await client.predict("sum-rows", x=x, weights=np.ones(3, np.float32))
        np.testing.assert_array_equal(np.asarray(totals), x.sum(axis=1), strict=True)


async def test_a_stream_sends_item_after_item(server: Running) -> None:
    async with client_of(app, server) as client:
        assert [item async for item in client.stream("count", to=3)] == [0, 1, 2]
        assert [item async for item in client.stream("count", to=0)] == []


async def test_a_size_that_only_results_have_may_differ_from_item_to_item(server: Running) -> None:
    async with client_of(app, server) as client:
        items = client.stream("halves", x=np.zeros((5, 2), np.float32))
        assert [np.asarray(item).shape async for item in items] == [(2, 2), (1, 2), (0, 2)]


async def test_a_size_that_the_request_has_must_be_that_of_every_item(server: Running) -> None:
    async with client_of(app, server) as client:
        items = client.stream("tally", x=np.zeros((3, 2), np.float32))
        assert np.asarray(await anext(items)).shape == (3,)
        with pytest.raises(Exception, match="model 'tally' failed; error id"):
            await anext(items)


async def test_a_function_gets_numpys_scalars_and_their_arithmetic(server: Running) -> None:
    async with client_of(app, server) as client:
        # Python's own floats would raise ZeroDivisionError.
        assert await client.predict("divide", a=1.0, b=0.0) == math.inf


async def test_an_unknown_rpc_is_unimplemented(server: Running) -> None:
    error = await server.failure("Nothing")
    assert (error.status, error.message) == (Status.UNIMPLEMENTED, "no such method")


FLOATS = struct.pack("<4f", 1, 2, 3, 4)
WEIGHTS = field(2, field(1, b"\2") + field(2, b"float") + field(3, FLOATS[:8]))


def rows(shape: bytes = b"\2\2", dtype: bytes = b"float", data: bytes = FLOATS) -> bytes:
    return field(1, field(1, shape) + field(2, dtype) + field(3, data)) + WEIGHTS


NEGATIVE = b"\xff" * 9 + b"\x01"


@pytest.mark.parametrize(
    ("rpc", "request_", "name", "message"),
    [
        ("Greet", b"\xff\xff", None, "not a valid protobuf message"),
        ("Greet", b"\x0a\x05ab", "name", "not a valid protobuf message"),
        ("Greet", field(1, b"\xff"), "name", "not a valid protobuf message"),
        ("Greet", b"\x10\xff\xff", "times", "not a valid protobuf message"),
        ("SumRows", b"", "x", "missing"),
        ("SumRows", rows(dtype=b"quux"), "x", "unknown dtype 'quux'"),
        ("SumRows", rows(dtype=b""), "x", "unknown dtype ''"),
        ("SumRows", rows(dtype=b"double", shape=b"\1\2"), "x", "expected dtype float32, got floa"),
        ("SumRows", rows(data=FLOATS[:-1]), "x", "takes 16 bytes, got 15"),
        ("SumRows", rows(shape=b"\1\1\2\2"), "x", "expected shape (batch, 2), got (1, 1, 2, 2)"),
        ("SumRows", rows(shape=b"\1\4"), "x", "expected shape (batch, 2), got (1, 4)"),
        ("SumRows", rows(shape=NEGATIVE + b"\2"), "x", "negative dimension in shape (-1, 2)"),
        ("SumRows", rows(shape=b"\x80" * 8 + b"\x40\4"), "x", "bytes, got 16"),
        ("SumRows", rows(shape=b"\1\2", data=FLOATS[:8]), "weights", "'batch' is 2 here, 1 earl"),
    ],
)
async def test_a_bad_request_is_refused_by_name_and_the_connection_goes_on(
    server: Running, rpc: str, request_: bytes, name: str | None, message: str
) -> None:
    error = await server.failure(rpc, request_)
    assert error.status is Status.INVALID_ARGUMENT
    assert message in (error.message or "")
    (details,) = error.details
    assert [violation.field for violation in details.field_violations] == [name or ""]
    assert text_of(await server.call("Greet", GREET)) == "abab"


async def test_a_bad_request_is_the_clients_affair_and_the_log_has_nothing_of_it(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await server.failure("Greet", b"\xff\xff")
        await server.failure("Count", b"\x08\xff")
    assert caplog.records == []


async def test_a_stream_refuses_a_bad_request_as_well(server: Running) -> None:
    error = await server.failure("Count", b"\x08\xff")
    assert error.status is Status.INVALID_ARGUMENT
    assert (error.message or "").startswith("to: ")


async def test_a_request_without_a_message_is_refused(server: Running) -> None:
    path = "/blazerpc.InferenceService/PredictGreet"
    async with server.channel.request(path, Cardinality.STREAM_UNARY, bytes, bytes) as stream:
        await stream.send_request()
        await stream.end()
        with pytest.raises(GRPCError, match="the request holds no message") as caught:
            await stream.recv_message()
    assert caught.value.status is Status.INVALID_ARGUMENT


@pytest.mark.parametrize("how", ["raise", "exit", "text", "float", "none", "big", "ok"])
async def test_a_model_that_fails_is_internal_and_tells_only_the_log_why(
    server: Running, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    error = await server.failure("Answer", field(1, how.encode()))
    assert error.status is Status.INTERNAL
    match = re.fullmatch(r"model 'answer' failed; error id ([0-9a-f]{12})", error.message or "")
    assert match
    assert [record.levelno for record in caplog.records if match[1] in record.getMessage()] == [
        logging.ERROR
    ]
    assert text_of(await server.call("Greet", GREET)) == "abab"


async def test_a_status_of_the_models_own_is_sent_as_it_is(server: Running) -> None:
    error = await server.failure("Answer", field(1, b"grpc"))
    assert (error.status, error.message) == (Status.FAILED_PRECONDITION, "warm up first")
    assert error.details == [BadRequest()]


@pytest.mark.parametrize(
    ("how", "message"), [("no text", None), ("lines", "è\n100%\0"), ("no message", "'x'")]
)
async def test_a_status_of_the_models_own_can_have_any_message(
    server: Running, how: str, message: str | None
) -> None:
    error = await server.failure("Answer", field(1, how.encode()))
    assert (error.status, error.message) == (Status.FAILED_PRECONDITION, message)


@pytest.mark.parametrize("how", ["surrogate", "no details", "long"])
async def test_a_status_that_cannot_be_sent_as_it_is_still_reaches_the_client(
    server: Running, how: str
) -> None:
    error = await server.failure("Answer", field(1, how.encode()))
    assert error.status is Status.FAILED_PRECONDITION
    assert text_of(await server.call("Greet", GREET)) == "abab"


async def test_models_do_not_hold_one_another_up() -> None:
    both = asyncio.Barrier(2)
    pair = BlazeApp()

    @pair.model("meet")
    async def meet(x: int) -> int:
        await both.wait()
        return x

    async with serving(pair) as run, client_of(pair, run) as client, asyncio.timeout(PATIENCE):
        calls = [client.predict("meet", x=1), client.predict("meet", x=2)]
        assert await asyncio.gather(*calls) == [1, 2]


async def test_a_stream_that_never_waits_lets_other_calls_pass() -> None:
    made: list[int] = []
    endless = BlazeApp()

    @endless.model("numbers")
    async def numbers(x: int) -> AsyncIterator[int]:
        while True:
            made.append(x)
            yield x

    @endless.model("echo")
    async def echo(x: int) -> int:
        return x

    async with serving(endless) as run, client_of(endless, run) as client:
        stream = client.stream("numbers", x=1)
        assert await anext(stream) == 1
        before = len(made)
        assert await client.predict("echo", x=2) == 2
        assert len(made) - before < 20_000  # of all that the window would take
        await stream.aclose()  # type: ignore[attr-defined]  # a generator


async def test_closing_the_servicer_lets_its_threads_end() -> None:
    import threading

    before = threading.active_count()
    async with serving(app) as run:
        await run.call("Greet", GREET)
        (thread,) = [t for t in threading.enumerate() if t.name.startswith("blazerpc-greet")]
    await asyncio.to_thread(thread.join, PATIENCE)
    assert not thread.is_alive()
    # One more is the thread that has waited for it.
    assert threading.active_count() <= before + 1
