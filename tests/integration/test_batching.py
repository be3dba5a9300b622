"""Requests of many clients in few calls of a model's code: each gets its own result."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from blazerpc_client import BlazeClient, DeadlineExceeded, Internal, NotFound, RpcError
from tests.conftest import ServerProcess, StartServer


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server("tests.apps.batching:app")


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[BlazeClient]:
    async with BlazeClient("127.0.0.1", server.port) as client:
        await client.predict("calls", model="")  # the schema is read once
        yield client


class Calls:
    """How often a model's code is called from now on."""

    def __init__(self, client: BlazeClient, model: str) -> None:
        self._client = client
        self._model = model
        self._before: Any = None

    async def __aenter__(self) -> Calls:
        self._before = await self._client.predict("calls", model=self._model)
        return self

    async def __aexit__(self, *failure: object) -> None:
        after: Any = await self._client.predict("calls", model=self._model)
        self.count: int = after - self._before


async def predictions(client: BlazeClient, model: str, requests: Sequence[Any]) -> list[Any]:
    """Return the results of calls at one time, or what they raised."""
    calls = [client.predict(model, **request) for request in requests]
    async with asyncio.timeout(30):
        return await asyncio.gather(*calls, return_exceptions=True)


def row(number: float) -> dict[str, npt.NDArray[np.float32]]:
    return {"x": np.array([[number, -number]], np.float32)}


def id_of(error: RpcError) -> str:
    match = re.search(r"error id ([0-9a-f]{12})$", error.message)
    assert match, error.message
    return match[1]


def logged(server: ServerProcess, error_id: str) -> list[str]:
    return [line for line in server.errors().splitlines() if error_id in line]


# Row by row.


async def test_64_requests_at_one_time_are_at_most_8_calls_and_each_gets_its_own_row(
    client: BlazeClient,
) -> None:
    async with Calls(client, "double") as calls:
        results = await predictions(client, "double", [row(number) for number in range(64)])
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result, [[2 * number, -2 * number]])
    assert calls.count <= 8


async def test_requests_of_many_connections_are_batched_too(
    server: ServerProcess, client: BlazeClient
) -> None:
    async with Calls(client, "double") as calls:
        clients = [BlazeClient("127.0.0.1", server.port) for _ in range(8)]
        try:
            await asyncio.gather(*(other.predict("calls", model="") for other in clients))
            results = await asyncio.gather(
                *(other.predict("double", **row(n)) for n, other in enumerate(clients * 4))
            )
        finally:
            for other in clients:
                await other.close()
    for number, result in enumerate(results):
        np.testing.assert_array_equal(np.asarray(result), [[2 * number, -2 * number]])
    assert calls.count <= 8


async def test_requests_may_have_many_rows_or_none(client: BlazeClient) -> None:
    sizes = [3, 0, 1, 40, 0, 7, 100, 2]
    arrays = [np.full((size, 2), number, np.float32) for number, size in enumerate(sizes)]
    results = await predictions(client, "double", [{"x": array} for array in arrays])
    for array, result in zip(arrays, results, strict=True):
        np.testing.assert_array_equal(result, 2 * array, strict=True)


async def test_requests_of_another_width_are_never_in_one_call(client: BlazeClient) -> None:
    requests = [{"x": np.ones((1, 1 + number % 3), np.float32)} for number in range(30)]
    async with Calls(client, "sums") as calls:
        results = await predictions(client, "sums", requests)
    assert [result.tolist() for result in results] == [[1.0 + n % 3] for n in range(30)]
    assert 3 <= calls.count <= 12


async def test_rows_that_do_not_add_up_fail_the_whole_batch_under_one_id(
    server: ServerProcess, client: BlazeClient
) -> None:
    results = await predictions(client, "lossy", [row(number) for number in range(16)])
    failed = [result for result in results if isinstance(result, Internal)]
    assert len(failed) >= 15  # the first may have been alone
    ids = {id_of(error) for error in failed}
    assert len(ids) <= 4  # one for each batch
    for error_id in ids:
        (line,) = logged(server, error_id)
        assert re.search(r"model 'lossy' returned \d+ rows for a batch of \d+ rows$", line)


async def test_one_poisoned_request_fails_alone_when_failures_are_isolated(
    server: ServerProcess, client: BlazeClient
) -> None:
    numbers = [float("nan") if number == 5 else number for number in range(16)]
    results = await predictions(client, "isolated-rows", [row(number) for number in numbers])
    for number, result in enumerate(results):
        if number == 5:
            assert isinstance(result, Internal)
            assert len(logged(server, id_of(result))) == 1
        else:
            np.testing.assert_array_equal(result, [[2 * number, -2 * number]])


# List by list.


def texts(*values: str) -> list[dict[str, object]]:
    return [{"texts": text, "scale": 10} for text in values]


async def test_a_model_of_lists_serves_many_requests_in_few_calls(client: BlazeClient) -> None:
    requests = [{"texts": "x" * (number % 7), "scale": number} for number in range(64)]
    async with Calls(client, "lengths") as calls:
        results = await predictions(client, "lengths", requests)
    assert results == [(number % 7) * number for number in range(64)]
    assert calls.count <= 8


async def test_an_exception_at_an_index_fails_that_request_only(
    server: ServerProcess, client: BlazeClient
) -> None:
    results = await predictions(client, "lengths", texts("a", "bad", "bb", "missing", "ccc"))
    first, bad, second, missing, third = results
    assert (first, second, third) == (10, 20, 30)
    assert isinstance(bad, Internal)
    (line,) = logged(server, id_of(bad))
    assert "ValueError('the secret of the model')" in line
    assert isinstance(missing, NotFound)
    assert missing.message == "no such text"


async def test_a_value_of_another_type_fails_that_request_only(client: BlazeClient) -> None:
    first, wrong, second = await predictions(client, "lengths", texts("a", "wrong", "bb"))
    assert (first, second) == (10, 20)
    assert isinstance(wrong, Internal)


@pytest.mark.parametrize("text", ["poison", "short"])
async def test_what_fails_a_batch_fails_all_of_it_under_one_id(
    server: ServerProcess, client: BlazeClient, text: str
) -> None:
    async with Calls(client, "lengths") as calls:
        results = await predictions(client, "lengths", texts(text, *["a"] * 15))
    failed = [result for result in results if isinstance(result, Internal)]
    assert isinstance(results[0], Internal)
    assert [result for result in results if result not in failed] == [10] * (16 - len(failed))
    assert len({id_of(error) for error in failed}) == 1
    (line,) = logged(server, id_of(results[0]))
    said = {"poison": "raised ValueError", "short": "for a batch of"}[text]
    assert said in line
    assert calls.count <= 4


async def test_one_poisoned_value_fails_alone_when_failures_are_isolated(
    server: ServerProcess, client: BlazeClient
) -> None:
    values = ["a", "poison", "bb", "ccc"]
    results = await predictions(client, "isolated", [{"texts": text} for text in values])
    assert [result for result in results if not isinstance(result, Internal)] == [1, 2, 3]
    assert isinstance(results[1], Internal)
    assert len(logged(server, id_of(results[1]))) == 1


# Deadlines.


async def test_requests_whose_deadline_passes_in_the_queue_are_never_run(
    client: BlazeClient,
) -> None:
    async with Calls(client, "slow") as calls:
        hurried = client.with_options(timeout=0.05)
        begun = time.monotonic()
        results = await predictions(hurried, "slow", [row(number) for number in range(200)])
        assert time.monotonic() - begun < 0.9  # before the model has its first result
        assert {type(result) for result in results} == {DeadlineExceeded}
        # One with patience comes next, and not behind two hundred.
        result: Any = await client.predict("slow", **row(3))
        np.testing.assert_array_equal(result, row(3)["x"])
    assert calls.count <= 1 + 2
