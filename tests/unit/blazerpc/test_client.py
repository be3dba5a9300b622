from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pytest

import blazerpc_client
from blazerpc import BlazeApp, BlazeClient, Tensor
from blazerpc.codegen import build_servicer
from blazerpc.server import GRPCServer
from blazerpc_client import InvalidArgument, NotFound, Unimplemented
from tests.unit.blazerpc.support import running, serving

app = BlazeApp()

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 2)]
Row = Annotated[npt.NDArray[np.float32], Tensor("batch")]


@app.model("greet")
def greet(model: str) -> str:
    return f"hello {model}"


@app.model("greet", version="2")
def greet_twice(name: str) -> str:
    return f"hello hello {name}"


@app.model("sum-rows")
def sum_rows(x: Rows) -> Row:
    total: npt.NDArray[np.float32] = x.sum(axis=1)
    return total


@app.model("letters")
def letters(text: str) -> Iterator[str]:
    yield from text


async def test_with_a_registry_no_reflection_is_needed() -> None:
    async with running(GRPCServer([build_servicer(app.registry)])) as run:
        async with BlazeClient("127.0.0.1", run.port, app.registry) as client:
            assert await client.predict("greet", model="you") == "hello you"
            assert await client.predict("greet:2", name="you") == "hello hello you"
            assert [item async for item in client.stream("letters", text="abc")] == ["a", "b", "c"]
            total = await client.predict("sum-rows", x=np.ones((3, 2), np.float32))
            np.testing.assert_array_equal(np.asarray(total), np.full(3, 2, np.float32))
        async with BlazeClient("127.0.0.1", run.port) as client:
            with pytest.raises(Unimplemented, match="has no reflection service"):
                await client.predict("greet", model="you")


async def test_without_a_registry_the_server_is_asked() -> None:
    async with serving(app) as run, BlazeClient("127.0.0.1", run.port) as client:
        assert await client.predict("greet", model="you") == "hello you"


async def test_it_is_the_client_runtimes_own_client() -> None:
    assert issubclass(BlazeClient, blazerpc_client.BlazeClient)


async def test_what_the_registry_does_not_allow_is_refused_before_anything_is_sent() -> None:
    # Nobody listens there: a call that was sent would be Unavailable.
    async with BlazeClient("127.0.0.1", 1, app.registry) as client:
        with pytest.raises(NotFound, match=r"no model 'nope'; the server has: greet:1, greet:2"):
            await client.predict("nope", x=1)
        with pytest.raises(NotFound, match="no model 'greet:3'"):
            await client.predict("greet:3", x=1)
        with pytest.raises(NotFound, match=r"'letters' gives a stream of results: call stream\(\)"):
            await client.predict("letters", text="abc")
        with pytest.raises(NotFound, match=r"'greet' gives one result: call predict\(\)"):
            await anext(client.stream("greet", model="you"))
        with pytest.raises(InvalidArgument, match="model: expected str, got int"):
            await client.predict("greet", model=3)
        with pytest.raises(InvalidArgument, match=r"x: expected shape \(batch, 2\), got \(3, 4\)"):
            await client.predict("sum-rows", x=np.ones((3, 4), np.float32))
        with pytest.raises(InvalidArgument, match="y: no such parameter; there are: text"):
            await anext(client.stream("letters", text="abc", y=1))
        with pytest.raises(InvalidArgument, match="x: missing"):
            await client.predict("sum-rows")
