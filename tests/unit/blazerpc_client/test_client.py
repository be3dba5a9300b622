from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from grpclib.events import RecvRequest

import blazerpc
from blazerpc import BlazeApp, Tensor
from blazerpc.codegen.schema import build_schema
from blazerpc.server import Middleware
from blazerpc_client import (
    BlazeClient,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Schema,
    ServiceClient,
    StreamMethod,
    UnaryMethod,
    Unavailable,
    Unimplemented,
)
from tests.unit.blazerpc_client.schemas import SERVICE, Model, schema_of
from tests.unit.blazerpc_client.servers import serving, serving_handlers

Batch = Annotated[npt.NDArray[np.float32], Tensor("batch")]


class Seen(Middleware):
    """Keeps the path and the metadata of each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], float]] = []

    async def on_request(self, event: RecvRequest) -> None:
        if not event.method_name.startswith("/grpc."):
            left = event.deadline.time_remaining() if event.deadline else math.inf
            self.calls.append((event.method_name, dict(event.metadata), left))

    @property
    def metadata(self) -> dict[str, Any]:
        return self.calls[-1][1]

    def time_left(self) -> float:
        return self.calls[-1][2]


def make_app(seen: Seen) -> BlazeApp:
    app = BlazeApp(middleware=[seen])

    @app.model("greet")
    def greet(name: str, times: int) -> str:
        return name * times

    @app.model("greet", version="2")
    def greet_politely(name: str) -> str:
        return f"Dear {name}"

    @app.model("only-second", version="2")
    def only_second(name: str) -> str:
        return name

    @app.model("scale")
    def scale(x: Batch, factor: float) -> Batch:
        return x * np.float32(factor)

    @app.model("count")
    def count(to: int) -> Iterator[int]:
        yield from range(to)

    @app.model("rows")
    def rows(x: Batch) -> Iterator[Batch]:
        yield x
        yield x[1:]

    @app.model("sizes")
    def sizes(to: int) -> Iterator[Batch]:
        for size in range(to):
            yield np.zeros(size, np.float32)

    @app.model("sleep")
    async def sleep(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    @app.model("self-named")
    def self_named(self: str, model: str) -> str:
        return f"{self} {model}"

    return app


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def target(seen: Seen) -> AsyncIterator[str]:
    async with serving(make_app(seen)) as target:
        yield target


def host_and_port(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host, int(port)


@pytest.fixture
async def client(target: str) -> AsyncIterator[BlazeClient]:
    async with BlazeClient(*host_and_port(target)) as client:
        yield client


async def test_a_model_is_called_by_its_name(client: BlazeClient) -> None:
    assert await client.predict("greet", name="a", times=3) == "aaa"
    assert await client.predict("greet:1", name="a", times=1) == "a"
    assert await client.predict("greet:2", name="Ann") == "Dear Ann"


async def test_the_models_are_listed_by_their_signatures(client: BlazeClient) -> None:
    models = await client.models()
    assert "greet(name: str, times: int) -> str" in models
    assert "greet:2(name: str) -> str" in models
    assert "count(to: int) -> stream of int" in models
    assert len(models) == len(set(models))


async def test_a_model_takes_and_gives_arrays(client: BlazeClient) -> None:
    result = await client.predict("scale", x=np.array([1, 2], np.float32), factor=2.0)
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [2, 4])


async def test_a_stream_of_results_is_heard(client: BlazeClient) -> None:
    assert [item async for item in client.stream("count", to=3)] == [0, 1, 2]
    assert [item async for item in client.stream("count", to=0)] == []


async def test_a_size_that_only_results_have_may_change(client: BlazeClient) -> None:
    assert [np.asarray(item).shape async for item in client.stream("sizes", to=3)] == [
        (0,),
        (1,),
        (2,),
    ]


async def test_a_size_of_the_request_is_that_of_each_result(client: BlazeClient) -> None:
    items = client.stream("rows", x=np.zeros(3, np.float32))
    assert np.asarray(await anext(items)).shape == (3,)
    with pytest.raises(Internal):
        await anext(items)


async def test_parameters_may_be_called_as_the_clients_own(client: BlazeClient) -> None:
    assert await client.predict("self-named", self="a", model="b") == "a b"


@pytest.mark.parametrize(
    "known", [build_schema(make_app(Seen()).registry), None], ids=["a schema", "reflection"]
)
async def test_the_schema_is_known_or_read(target: str, seen: Seen, known: Schema | None) -> None:
    async with BlazeClient(*host_and_port(target), schema=known) as client:
        assert await client.predict("greet", name="a", times=2) == "aa"
    assert [path for path, _, _ in seen.calls] == [f"/{SERVICE}/PredictGreet"]


async def test_a_registry_tells_the_schema(seen: Seen) -> None:
    app = make_app(seen)
    async with serving(app) as target:
        host, port = host_and_port(target)
        async with blazerpc.BlazeClient(host, port, app.registry) as client:
            assert await client.predict("greet:2", name="Bo") == "Dear Bo"


@pytest.mark.parametrize("model", ["nothing", "greet:3", "Greet", "", "greet:", "only-second"])
async def test_an_unknown_model_is_not_found_before_anything_is_sent(
    client: BlazeClient, seen: Seen, model: str
) -> None:
    with pytest.raises(NotFound, match=f"^no model '{model}'; the server has: .*greet:1, greet:2"):
        await client.predict(model, name="a")
    with pytest.raises(NotFound, match=f"^no model '{model}'"):
        await anext(aiter(client.stream(model, name="a")))
    assert seen.calls == []


@pytest.mark.parametrize(
    ("model", "arguments", "message", "field"),
    [
        ("greet", {"name": 1, "times": 1}, "name: expected str, got int", "name"),
        ("greet", {"name": "a", "times": 1 << 63}, "times: value is out of range", "times"),
        ("greet", {"name": "a"}, "times: missing", "times"),
        ("greet", {}, "name: missing", "name"),
        ("greet", {"nome": "a"}, "nome: no such parameter; there are: name, times", "nome"),
        ("greet:2", {"name": "a", "times": 1}, "times: no such parameter", "times"),
        ("scale", {"x": [1.0], "factor": 1.0}, r"x: expected float32 \(batch,\) array", "x"),
        ("scale", {"x": np.zeros(2), "factor": 1.0}, "x: expected dtype float32, got", "x"),
        ("scale", {"x": np.zeros((2, 2), "f4"), "factor": 1.0}, "x: expected shape", "x"),
        ("scale", {"x": np.zeros(2, "f4"), "factor": 1e39}, "factor: value is out", "factor"),
    ],
)
async def test_a_wrong_argument_is_refused_before_anything_is_sent(
    client: BlazeClient, seen: Seen, model: str, arguments: dict[str, Any], message: str, field: str
) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}") as error:
        await client.predict(model, **arguments)
    assert error.value.field == field
    assert seen.calls == []


async def test_a_model_is_called_in_its_own_way(client: BlazeClient, seen: Seen) -> None:
    with pytest.raises(NotFound, match=r"'count' gives a stream of results: call stream\(\)"):
        await client.predict("count", to=1)
    with pytest.raises(NotFound, match=r"'greet' gives one result: call predict\(\)"):
        await anext(aiter(client.stream("greet", name="a", times=1)))
    assert seen.calls == []


async def test_without_reflection_the_schema_has_to_be_given() -> None:
    async with (
        serving_handlers() as target,
        BlazeClient(*host_and_port(target)) as client,
    ):
        with pytest.raises(Unimplemented, match=f"{target} has no reflection service"):
            await client.predict("greet", name="a", times=1)


async def test_a_schema_that_this_version_cannot_read_is_an_rpc_error() -> None:
    with pytest.raises(InvalidArgument, match=r"blazerpc\.EchoRequest\.class: Python cannot"):
        BlazeClient(schema=schema_of(Model(parameters={"class": "string"})))


async def test_nobody_listens() -> None:
    async with BlazeClient("127.0.0.1", 1) as client:
        with pytest.raises(Unavailable, match=r"cannot reach 127\.0\.0\.1:1"):
            await client.predict("greet", name="a", times=1)


@pytest.mark.parametrize(("host", "port"), [("", 1), ("localhost", 0), ("localhost", 65536)])
def test_what_is_no_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(InvalidArgument, match="it has the form HOST:PORT"):
        BlazeClient(host, port)


async def test_an_ipv6_address_needs_no_brackets() -> None:
    async with BlazeClient("::1", 1) as client:
        with pytest.raises(Unavailable, match=r"cannot reach \[::1\]:1"):
            await client.predict("greet", name="a", times=1)


async def test_metadata_of_the_call_goes_over_that_of_the_client(target: str, seen: Seen) -> None:
    schema = build_schema(make_app(Seen()).registry)
    greet = UnaryMethod[str](schema, f"{SERVICE}.PredictGreetV2")

    class Client(ServiceClient):
        async def greet(self) -> str:
            return await self._unary(greet, {"name": "a"})

    async with Client(target, metadata={"a": "1", "b": "1"}) as client:
        other = client.with_options(metadata={"b": "2", "c-bin": b"\xff"})
        assert isinstance(other, Client)
        assert await other.greet() == "Dear a"
        assert seen.metadata == {"a": "1", "b": "2", "c-bin": b"\xff"}
        await client.greet()
        assert seen.metadata == {"a": "1", "b": "1"}
        await other.with_options(timeout=60).greet()
        assert seen.metadata == {"a": "1", "b": "2", "c-bin": b"\xff"}


async def test_a_timeout_is_the_clients_until_a_call_has_its_own(target: str, seen: Seen) -> None:
    async with BlazeClient(*host_and_port(target)) as client:
        await client.predict("greet:2", name="a")
        assert seen.time_left() == math.inf
        await client.with_options(timeout=50).predict("greet:2", name="a")
        assert 40 < seen.time_left() <= 50
        patient = client.with_options(timeout=50)
        await patient.with_options(metadata={"a": "b"}).predict("greet:2", name="a")
        assert 40 < seen.time_left() <= 50
        await patient.with_options(timeout=500).predict("greet:2", name="a")
        assert 400 < seen.time_left() <= 500
        await client.predict("greet:2", name="a")
        assert seen.time_left() == math.inf


async def test_a_call_that_takes_too_long_exceeds_its_deadline(client: BlazeClient) -> None:
    hurried = client.with_options(timeout=0.2)
    with pytest.raises(DeadlineExceeded):
        await hurried.predict("sleep", seconds=30.0)
    assert await client.predict("sleep", seconds=0.0) == "slept"


async def test_options_that_grpc_cannot_carry_are_refused_when_they_are_made(
    client: BlazeClient,
) -> None:
    with pytest.raises(InvalidArgument, match=r"^metadata: "):
        client.with_options(metadata={"Upper": "a"})
    with pytest.raises(InvalidArgument, match=r"^timeout: "):
        client.with_options(timeout=-1)
    with pytest.raises(InvalidArgument, match=r"^metadata: "):
        ServiceClient("localhost:1", metadata={"te": "a"})
    with pytest.raises(InvalidArgument, match=r"^timeout: "):
        ServiceClient("localhost:1", timeout=float("nan"))


async def test_a_stream_checks_its_arguments_when_it_is_called(target: str) -> None:
    schema = build_schema(make_app(Seen()).registry)
    count = StreamMethod[int](schema, f"{SERVICE}.PredictCount")

    class Client(ServiceClient):
        def count(self, to: object) -> AsyncIterator[int]:
            return self._stream(count, {"to": to})

    async with Client(target) as client:
        with pytest.raises(InvalidArgument, match=r"^to: expected int, got str$"):
            client.count("3")
        assert [number async for number in client.count(2)] == [0, 1]


async def test_many_calls_share_one_connection(client: BlazeClient, seen: Seen) -> None:
    calls = [client.predict("greet", name=str(n), times=2) for n in range(20)]
    assert await asyncio.gather(*calls) == [str(n) * 2 for n in range(20)]
    assert len(seen.calls) == 20


async def test_a_closed_client_makes_no_calls(target: str) -> None:
    client = BlazeClient(*host_and_port(target))
    assert await client.predict("greet:2", name="a") == "Dear a"
    await client.close()
    for closed in (client, client.with_options(timeout=5)):
        with pytest.raises(FailedPrecondition, match="the client is closed"):
            await closed.predict("greet:2", name="b")
    await client.close()
