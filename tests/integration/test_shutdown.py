"""SIGTERM and SIGINT: calls in flight finish, the process ends."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from blazerpc_client import BlazeClient, RpcError, Unavailable
from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.choice import chosen_http
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import logged

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING


async def in_flight(server: ServerProcess) -> None:
    """Wait until a call has reached its model."""
    await logged(server, "holding")


@pytest.mark.parametrize("model", ["hold", "hold-sync"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_call_in_flight_completes(
    start_server: StartServer, tmp_path: Path, model: str, number: signal.Signals
) -> None:
    server = start_server("tests.apps.models:app", "--grace", "50")
    release = tmp_path / "release"
    async with BlazeClient("127.0.0.1", server.port) as client:
        slow = asyncio.create_task(client.predict(model, until=str(release)))
        await in_flight(server)
        server.signal(number)
        await logged(server, "stopping: 1 calls in flight")
        release.touch()
        assert await slow == "released"
    code, errors = await asyncio.to_thread(server.wait)
    assert code == 0
    assert "Traceback" not in errors


async def test_while_draining_health_says_so_and_new_calls_and_connections_are_refused(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("tests.apps.models:app", "--grace", "50")
    release = tmp_path / "release"
    # grpclib's own channel gives all its calls up when it is told that a server goes away.
    own = chosen_http(None) == "blaze"
    channel_class = TransportChannel if own else Channel
    health, overall = channel_class("127.0.0.1", server.port), HealthCheckRequest()
    ours = HealthCheckRequest(service="blazerpc.InferenceService")
    async with BlazeClient("127.0.0.1", server.port) as client, health:
        stub = HealthStub(health)
        assert [(await stub.Check(r)).status for r in (overall, ours)] == [SERVING, SERVING]
        slow = asyncio.create_task(client.predict("hold", until=str(release)))
        await in_flight(server)
        async with stub.Watch.open() as watch:
            await watch.send_message(overall, end=True)
            states = [await watch.recv_message()]
            server.signal(signal.SIGTERM)
            states.append(await watch.recv_message())
            assert [state.status for state in states if state] == [SERVING, NOT_SERVING]
            if not own:  # with our own, clients are told to ask elsewhere
                assert [(await stub.Check(r)).status for r in (overall, ours)] == [NOT_SERVING] * 2
            with pytest.raises(Unavailable, match=r"the server is stopping|cannot reach"):
                await client.predict("greet", name="a", times=1)
            async with BlazeClient("127.0.0.1", server.port) as late:
                with pytest.raises(Unavailable, match="cannot reach"):
                    await late.predict("greet", name="a", times=1)
            await watch.cancel()
        release.touch()
        assert await slow == "released"
    code, _ = await asyncio.to_thread(server.wait)
    assert code == 0


@pytest.mark.parametrize("model", ["hold", "hold-sync"])
async def test_a_call_that_outlives_the_grace_period_is_cancelled_and_the_process_ends(
    start_server: StartServer, model: str
) -> None:
    server = start_server("tests.apps.models:app", "--grace", "0.2")
    async with BlazeClient("127.0.0.1", server.port) as client:
        slow = asyncio.create_task(client.predict(model, until="/never"))
        await in_flight(server)
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        with pytest.raises(RpcError):
            await slow
        code, errors = await asyncio.to_thread(server.wait)
    assert code == 0
    assert time.monotonic() - started < 20
    assert "cancelling 1 calls" in errors


async def test_a_model_that_never_returns_does_not_keep_the_process(
    start_server: StartServer,
) -> None:
    server = start_server("tests.apps.models:app", "--grace", "0.1")
    async with BlazeClient("127.0.0.1", server.port) as client:
        stuck = asyncio.create_task(client.predict("stuck", forever=True))
        await in_flight(server)
        server.signal(signal.SIGTERM)
        with pytest.raises(RpcError):
            await stuck
    code, _ = await asyncio.to_thread(server.wait)
    assert code == 0


async def test_a_second_signal_ends_the_wait(start_server: StartServer) -> None:
    server = start_server("tests.apps.models:app", "--grace", "50")
    async with BlazeClient("127.0.0.1", server.port) as client:
        slow = asyncio.create_task(client.predict("hold", until="/never"))
        await in_flight(server)
        server.signal(signal.SIGTERM)
        await logged(server, "stopping: 1 calls in flight")
        server.signal(signal.SIGTERM)
        with pytest.raises(RpcError):
            await slow
    code, _ = await asyncio.to_thread(server.wait)
    assert code == 0


async def test_a_client_finds_the_server_that_came_back(start_server: StartServer) -> None:
    server = start_server("tests.apps.models:app")
    async with BlazeClient("127.0.0.1", server.port) as client:
        assert await client.predict("greet", name="a", times=1) == "a"
        await asyncio.to_thread(server.stop)
        with pytest.raises(Unavailable):
            await client.predict("greet", name="a", times=1)
        start_server("tests.apps.models:app", "--port", str(server.port))
        patient = client.with_options(wait_for_ready=True)
        assert await patient.predict("greet", name="b", times=1) == "b"
