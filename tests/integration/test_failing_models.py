"""Models that fail: INTERNAL, an id that the log has too, and nothing of what went wrong."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import numpy as np
import pytest

from blazerpc_client import (
    BlazeClient,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
)
from tests.conftest import ServerProcess


@pytest.fixture
async def client(models: ServerProcess) -> AsyncIterator[BlazeClient]:
    async with BlazeClient("127.0.0.1", models.port) as client:
        yield client


@pytest.mark.parametrize(
    ("model", "how", "logged"),
    [
        ("fail", "raise", "RuntimeError('the secret of the model')"),
        ("fail", "type", "result: expected int, got str"),
        ("fail", "range", "result: value is out of range for int64"),
        ("fail", "exit", "SystemExit('the secret of the model')"),
        ("fail", "cancel", "CancelledError()"),
        ("fail-sync", "raise", "RuntimeError('the secret of the model')"),
        ("fail-sync", "stop", "StopIteration()"),
        ("fail-sync", "exit", "SystemExit('the secret of the model')"),
        ("fail-sync", "interrupt", "KeyboardInterrupt()"),
        ("wrong-array", "dtype", "result: expected dtype float32, got float64"),
        ("wrong-array", "shape", "result: expected shape (batch, 4), got (2, 5)"),
        ("wrong-array", "rank", "result: expected shape (batch, 4), got (4,)"),
        ("wrong-array", "list", "result: expected float32 (batch, 4) array, got list"),
    ],
)
async def test_a_failing_model_tells_the_client_an_id_and_the_log_the_rest(
    models: ServerProcess, client: BlazeClient, model: str, how: str, logged: str
) -> None:
    with pytest.raises(Internal) as caught:
        await client.predict(model, how=how)
    match = re.fullmatch(rf"model '{model}' failed; error id ([0-9a-f]{{12}})", str(caught.value))
    assert match, caught.value
    (line,) = [line for line in models.errors().splitlines() if match[1] in line]
    assert logged in line
    assert await client.predict("greet", name="on", times=1) == "on"


async def test_the_log_has_the_traceback_into_the_model(
    models: ServerProcess, client: BlazeClient
) -> None:
    with pytest.raises(Internal) as caught:
        await client.predict("fail", how="raise")
    after = models.errors().partition(caught.value.message.split()[-1])[2]
    assert 'raise RuntimeError("the secret of the model")' in after


async def test_a_result_whose_named_dimension_disagrees_with_the_request_is_the_models_error(
    models: ServerProcess, client: BlazeClient
) -> None:
    with pytest.raises(Internal):
        await client.predict("wrong-batch", x=np.zeros((3, 4), np.float32))
    assert "result: dimension 'batch' is 4 here, 3 earlier in the call" in models.errors()


@pytest.mark.parametrize("model", ["count", "count-sync"])
async def test_items_before_a_failure_arrive(client: BlazeClient, model: str) -> None:
    numbers = client.stream(model, to=9, fail_at=4)
    assert [await anext(numbers) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(Internal, match="error id"):
        await anext(numbers)


@pytest.mark.parametrize("model", ["count", "count-sync"])
async def test_a_stream_of_nothing_is_no_failure(client: BlazeClient, model: str) -> None:
    assert [number async for number in client.stream(model, to=0, fail_at=0)] == []


async def test_a_bare_type_on_a_generator_is_a_stream(client: BlazeClient) -> None:
    assert [letter async for letter in client.stream("bare-stream", text="abc")] == ["a", "b", "c"]


async def test_a_status_that_the_model_raises_goes_through(client: BlazeClient) -> None:
    with pytest.raises(FailedPrecondition, match="warm up first"):
        await client.predict("fail", how="grpc")


async def test_a_mapped_exception_has_its_status_and_its_text(client: BlazeClient) -> None:
    with pytest.raises(NotFound, match="no such user"):
        await client.predict("fail", how="lookup")


async def test_versions_are_models_of_their_own(client: BlazeClient) -> None:
    assert await client.predict("greet", name="a", times=2) == "aa"
    assert await client.predict("greet:2", name="a", others=["b", "c"]) == "a b c"
    with pytest.raises(InvalidArgument, match="times: no such parameter; there are: name, others"):
        await client.predict("greet:2", name="a", times=2)
    with pytest.raises(NotFound, match="no model 'greet:3'"):
        await client.predict("greet:3", name="a")
