from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from blazerpc import BlazeApp
from blazerpc.server import GRPCServer
from blazerpc.server.health import HealthService, build_health_service, model_names
from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.choice import Http
from tests.unit.blazerpc.support import PATIENCE, Running, running, serving

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


class Held:
    """A model that does not answer before it is let go."""

    def __init__(self) -> None:
        self.called = asyncio.Event()
        self.let_go = asyncio.Event()
        self.app = BlazeApp()
        self.app.model("held")(self.held)

    async def held(self, x: int) -> int:
        self.called.set()
        await self.let_go.wait()
        return x


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
async def run(held: Held) -> AsyncIterator[Running]:
    async with serving(held.app) as run:
        yield run
        held.let_go.set()


@pytest.mark.parametrize("service", ["", "blazerpc.InferenceService", "held", "held:1"])
async def test_a_server_its_service_and_its_models_are_serving(run: Running, service: str) -> None:
    async with Channel("127.0.0.1", run.port) as channel:
        answer = await HealthStub(channel).Check(HealthCheckRequest(service=service))
    assert answer.status == SERVING


@pytest.mark.parametrize("service", ["nothing", "held:2", "held:", ":1", "Held", "PredictHeld"])
async def test_a_name_that_is_not_there_is_not_found(run: Running, service: str) -> None:
    async with Channel("127.0.0.1", run.port) as channel:
        with pytest.raises(GRPCError) as caught:
            await HealthStub(channel).Check(HealthCheckRequest(service=service))
    assert caught.value.status is Status.NOT_FOUND


@pytest.mark.parametrize("http", ["blaze", "h2"])
@pytest.mark.parametrize("service", ["", "blazerpc.InferenceService", "held", "held:1"])
async def test_those_who_watch_are_told_of_the_drain_and_calls_in_flight_go_on(
    held: Held, service: str, http: Http
) -> None:
    # grpclib's own channel gives all its calls up when it is told that a server goes away.
    channel_class = TransportChannel if http == "blaze" else Channel
    async with (
        serving(held.app, grace=PATIENCE, http=http) as run,
        channel_class("127.0.0.1", run.port) as channel,
    ):
        call = asyncio.create_task(run.call("Held", b"\x08\x07"))
        await held.called.wait()
        async with asyncio.timeout(PATIENCE), HealthStub(channel).Watch.open() as watch:
            await watch.send_message(HealthCheckRequest(service=service), end=True)
            first = await watch.recv_message()
            assert first is not None
            assert first.status == SERVING
            await run.server.stop()
            second = await watch.recv_message()
            assert second is not None
            assert second.status == NOT_SERVING
            if http == "h2":  # with our own, clients have been told to ask elsewhere
                answer = await HealthStub(channel).Check(HealthCheckRequest(service=service))
                assert answer.status == NOT_SERVING
            held.let_go.set()
            assert await call == b"\x08\x07"
            await watch.cancel()


def test_a_name_alone_is_version_1() -> None:
    app = BlazeApp()
    for name, version in [("digits", "2"), ("digits", "1"), ("my-model", "11"), ("my_words", "1")]:
        app.model(name, version)(echo)
    assert sorted(model_names(app.registry.list_models())) == [
        "digits",
        "digits:1",
        "digits:2",
        "my-model:11",
        "my_words",
        "my_words:1",
    ]


def echo(x: int) -> int:
    return x


async def test_health_is_serving_once_the_server_listens() -> None:
    health = build_health_service(names=["digits"], serving=False)
    assert health._status.__status__() is False
    async with asking(health) as stub, asyncio.timeout(PATIENCE), stub.Watch.open() as watch:
        await watch.send_message(HealthCheckRequest(service="digits"), end=True)
        for serving, status in [(None, SERVING), (False, NOT_SERVING), (True, SERVING)]:
            if serving is not None:
                health.set_serving(serving)
            said = await watch.recv_message()
            assert said is not None
            assert said.status == status
            for service in ("", "digits"):
                answer = await stub.Check(HealthCheckRequest(service=service))
                assert answer.status == status
        await watch.cancel()


async def test_a_name_that_is_not_there_is_unknown_to_those_who_watch() -> None:
    async with asking(build_health_service()) as stub, stub.Watch.open() as watch:
        await watch.send_message(HealthCheckRequest(service="digits"), end=True)
        said = await watch.recv_message()
        assert said is not None
        assert said.status == HealthCheckResponse.SERVICE_UNKNOWN
        await watch.cancel()


@asynccontextmanager
async def asking(health: HealthService) -> AsyncIterator[HealthStub]:
    """Serve health alone."""
    async with running(GRPCServer([health])) as run, Channel("127.0.0.1", run.port) as channel:
        yield HealthStub(channel)


async def test_what_runs_the_models_has_to_be_there_for_a_server_to_serve() -> None:
    health = build_health_service(serving=True)

    async def status(channel: Channel) -> int:
        return (await HealthStub(channel).Check(HealthCheckRequest())).status

    async with running(GRPCServer([health])) as run, Channel("127.0.0.1", run.port) as channel:
        assert await status(channel) == SERVING
        health.set_ready(False)
        assert await status(channel) == NOT_SERVING
        health.set_ready(True)
        assert await status(channel) == SERVING
        # One that drains does not take calls again when that comes back.
        health.set_serving(False)
        health.set_ready(True)
        assert await status(channel) == NOT_SERVING
