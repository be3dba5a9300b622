from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from grpclib.exceptions import GRPCError
from prometheus_client import CollectorRegistry

from blazerpc import BlazeApp, ServeOptions
from blazerpc.server import MetricsMiddleware
from tests.unit.blazerpc.support import running, serving, unary, until

MODELS = "/blazerpc.InferenceService/Predict"
WAIT = b"\x08\x01"


class Gate:
    """Holds calls until it is opened."""

    def __init__(self) -> None:
        self.waiting = 0
        self.open = asyncio.Event()


def make_app(gate: Gate, registry: CollectorRegistry, max_queue_size: int = 1000) -> BlazeApp:
    app = BlazeApp(middleware=[MetricsMiddleware(registry)], max_queue_size=max_queue_size)

    @app.model("echo")
    async def echo(wait: bool) -> bool:
        if wait:
            gate.waiting += 1
            await gate.open.wait()
        return wait

    @app.model("alone", version="2", max_concurrency=1)
    async def alone(wait: bool) -> bool:
        return await echo(wait)

    @app.model("batch", batch=True)
    async def batch(wait: list[bool]) -> list[bool]:
        return [await echo(one) for one in wait]

    @app.model("count")
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @app.model("fail")
    def fail(key: str) -> str:
        raise ValueError(key)

    return app


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


async def test_counters_match_the_calls_made(gate: Gate, registry: CollectorRegistry) -> None:
    async with serving(make_app(gate, registry)) as run:
        # Many at once, that end in another order than they began, and some that fail.
        held = [asyncio.create_task(run.call("Echo", WAIT)) for _ in range(20)]
        await until(lambda: gate.waiting == 20)
        for _ in range(7):
            await run.call("Echo", b"")
        for _ in range(5):
            await run.failure("Fail")
        await run.failure("Echo", b"\xff")
        gate.open.set()
        await asyncio.gather(*held)
        for rpc in ("Made", "Up", "Names"):
            await run.failure(rpc)
        await unary(run.channel, f"{MODELS}Count", b"\x08\x01")
    counted = {
        (labels["method"], labels["status"]): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "blazerpc_requests_total" and (labels := sample.labels)
    }
    assert counted == {
        (f"{MODELS}Echo", "OK"): 27,
        (f"{MODELS}Echo", "INVALID_ARGUMENT"): 1,
        (f"{MODELS}Fail", "INTERNAL"): 5,
        (f"{MODELS}Count", "OK"): 1,
        # A name that a client makes up is no label.
        ("_OTHER", "UNIMPLEMENTED"): 3,
    }
    name = "blazerpc_request_duration_seconds_count"
    assert registry.get_sample_value(name, {"method": f"{MODELS}Echo"}) == 28


async def test_a_call_that_its_client_gives_up_counts_as_cancelled(
    gate: Gate, registry: CollectorRegistry
) -> None:
    async with serving(make_app(gate, registry)) as run:
        call = asyncio.create_task(run.call("Echo", WAIT))
        await until(lambda: gate.waiting == 1)
        call.cancel()
        labels = {"method": f"{MODELS}Echo", "status": "CANCELLED"}
        await until(
            lambda: registry.get_sample_value("blazerpc_requests_total", labels) is not None
        )
    assert registry.get_sample_value("blazerpc_requests_total", labels) == 1


async def test_two_servers_can_count_in_one_registry(
    gate: Gate, registry: CollectorRegistry
) -> None:
    for _ in range(2):
        async with serving(make_app(gate, registry)) as run:
            await run.call("Echo", b"")
    labels = {"method": f"{MODELS}Echo", "status": "OK"}
    assert registry.get_sample_value("blazerpc_requests_total", labels) == 2


async def test_calls_in_flight_are_those_that_have_not_ended(
    gate: Gate, registry: CollectorRegistry
) -> None:
    name, labels = "blazerpc_requests_in_flight", {"method": f"{MODELS}Echo"}
    async with serving(make_app(gate, registry)) as run:
        held = [asyncio.create_task(run.call("Echo", WAIT)) for _ in range(3)]
        await until(lambda: gate.waiting == 3)
        assert registry.get_sample_value(name, labels) == 3
        held[0].cancel()
        await until(lambda: registry.get_sample_value(name, labels) == 2)
        gate.open.set()
        await asyncio.gather(*held[1:])
        await until(lambda: registry.get_sample_value(name, labels) == 0)


async def test_messages_are_measured_as_they_are_on_the_wire(
    gate: Gate, registry: CollectorRegistry
) -> None:
    async with serving(make_app(gate, registry)) as run:
        received = len(await unary(run.channel, f"{MODELS}Count", b"\x08\x01"))
        await run.failure("Fail", b"\x0a\x03key")
    total = registry.get_sample_value
    count, fail = {"method": f"{MODELS}Count"}, {"method": f"{MODELS}Fail"}
    assert total("blazerpc_request_size_bytes_sum", count) == 2
    assert total("blazerpc_response_size_bytes_sum", count) == received
    assert total("blazerpc_request_size_bytes_sum", fail) == 5
    assert total("blazerpc_response_size_bytes_sum", fail) == 0


@pytest.mark.parametrize(("rpc", "model"), [("AloneV2", ("alone", "2")), ("Batch", ("batch", "1"))])
async def test_a_model_tells_of_its_queue_its_batches_and_its_time(
    gate: Gate, registry: CollectorRegistry, rpc: str, model: tuple[str, str]
) -> None:
    labels = dict(zip(("model", "version"), model, strict=True))

    def value(name: str) -> float:
        found = registry.get_sample_value(f"blazerpc_{name}", labels)
        assert found is not None
        return found

    async with serving(make_app(gate, registry)) as run:
        assert value("queue_depth") == 0
        calls = [asyncio.create_task(run.call(rpc, WAIT))]
        await until(lambda: gate.waiting == 1)
        calls += [asyncio.create_task(run.call(rpc, WAIT)) for _ in range(4)]
        await until(lambda: value("queue_depth") == 4)
        assert value("queue_wait_seconds_count") == 1
        assert value("model_duration_seconds_count") == 0
        gate.open.set()
        await asyncio.gather(*calls)
        assert value("queue_depth") == 0
    assert value("queue_wait_seconds_count") == value("batch_size_sum") == 5
    batches = 2 if rpc == "Batch" else 5
    assert value("batch_size_count") == value("model_duration_seconds_count") == batches
    assert value("queue_wait_seconds_sum") > 0
    assert value("model_duration_seconds_sum") > 0


@pytest.mark.parametrize(("rpc", "model"), [("AloneV2", ("alone", "2")), ("Batch", ("batch", "1"))])
async def test_requests_that_the_model_never_saw_are_counted_by_the_reason(
    gate: Gate, registry: CollectorRegistry, rpc: str, model: tuple[str, str]
) -> None:
    def dropped(reason: str) -> float | None:
        labels = dict(zip(("model", "version"), model, strict=True)) | {"reason": reason}
        return registry.get_sample_value("blazerpc_requests_dropped_total", labels)

    def queued() -> float | None:
        labels = dict(zip(("model", "version"), model, strict=True))
        return registry.get_sample_value("blazerpc_queue_depth", labels)

    async with serving(make_app(gate, registry, max_queue_size=2)) as run:
        held = asyncio.create_task(run.call(rpc, WAIT))
        await until(lambda: gate.waiting == 1)
        leaves = asyncio.create_task(run.call(rpc, WAIT))
        stays = asyncio.create_task(run.call(rpc, WAIT))
        await until(lambda: queued() == 2)
        await run.failure(rpc, WAIT)
        assert dropped("queue_full") == 1
        leaves.cancel()
        await until(lambda: dropped("cancelled") == 1)
        with pytest.raises((GRPCError, TimeoutError)):  # whichever side is first to give up
            await run.call(rpc, WAIT, timeout=0.05)
        await until(lambda: dropped("deadline") == 1)
        assert queued() == 1
        gate.open.set()
        await asyncio.gather(held, stays)
    # A call that is given up while the model runs was seen by it.
    assert (dropped("queue_full"), dropped("cancelled"), dropped("deadline")) == (1, 1, 1)
    assert dropped("too_many_calls") == 0


async def test_a_call_that_is_given_up_in_the_model_is_not_dropped(
    gate: Gate, registry: CollectorRegistry
) -> None:
    method = {"method": f"{MODELS}AloneV2", "status": "CANCELLED"}
    async with serving(make_app(gate, registry)) as run:
        call = asyncio.create_task(run.call("AloneV2", WAIT))
        await until(lambda: gate.waiting == 1)
        call.cancel()
        await until(
            lambda: registry.get_sample_value("blazerpc_requests_total", method) is not None
        )
    labels = {"model": "alone", "version": "2", "reason": "cancelled"}
    assert registry.get_sample_value("blazerpc_requests_dropped_total", labels) == 0


async def test_calls_over_the_bound_of_the_server_are_counted_too(
    gate: Gate, registry: CollectorRegistry
) -> None:
    app = BlazeApp(middleware=[MetricsMiddleware(registry)], max_concurrent_requests=1)

    @app.model("echo")
    async def echo(wait: bool) -> bool:
        gate.waiting += 1
        await gate.open.wait()
        return wait

    async with serving(app) as run:
        held = asyncio.create_task(run.call("Echo", WAIT))
        await until(lambda: gate.waiting == 1)
        await run.failure("Echo", WAIT)
        gate.open.set()
        await held
    labels = {"model": "echo", "version": "1", "reason": "too_many_calls"}
    assert registry.get_sample_value("blazerpc_requests_dropped_total", labels) == 1


async def test_options_count_calls_unless_the_app_does(
    gate: Gate, registry: CollectorRegistry
) -> None:
    options = ServeOptions(port=0, metrics_port=0)
    async with running(make_app(gate, registry).server(options)) as run:
        await run.call("Echo", b"")
    labels = {"method": f"{MODELS}Echo", "status": "OK"}
    assert registry.get_sample_value("blazerpc_requests_total", labels) == 1
