from __future__ import annotations

import asyncio
import socket
from typing import cast

import pytest
from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError

from blazerpc import BlazeApp, BlazeClient, ConfigurationError, ServeOptions
from blazerpc.server import GRPCServer
from blazerpc_client import Backoff, Unavailable
from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import Limits
from tests.unit.blazerpc.support import PATIENCE, running, serving, until


def app_of_one() -> BlazeApp:
    app = BlazeApp()

    @app.model("double")
    def double(x: int) -> int:
        return 2 * x

    return app


def test_a_negative_grace_period_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="grace_period is -1"):
        GRPCServer([], grace_period=-1)
    with pytest.raises(ConfigurationError, match="grace_period is nan"):
        GRPCServer([], grace_period=float("nan"))


async def test_a_server_that_does_not_listen_has_no_port() -> None:
    server = app_of_one().server(ServeOptions())
    with pytest.raises(RuntimeError, match="does not listen"):
        _ = server.port


async def test_port_zero_is_a_free_one_and_told() -> None:
    async with serving(app_of_one()) as run:
        assert run.port > 0
        assert await run.call("Double", b"\x08\x04") == b"\x08\x08"


async def test_an_address_in_use_is_told_with_the_systems_reason() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = rf"cannot listen on 127\.0\.0\.1:{port}: .*in use"
        with pytest.raises(ConfigurationError, match=told):
            await app_of_one().server(ServeOptions()).listen("127.0.0.1", port)


async def test_a_socket_that_is_bound_already_is_listened_on_and_closed_at_the_end() -> None:
    server, sock = app_of_one().server(ServeOptions()), socket.socket()
    sock.bind(("127.0.0.1", 0))
    await server.listen(sock=sock)
    assert server.port == sock.getsockname()[1]
    async with BlazeClient("127.0.0.1", server.port) as client:
        assert await client.predict("double", x=4) == 8
    await server.stop()
    await server.wait()
    assert sock.fileno() == -1


async def test_two_servers_that_say_so_share_a_port() -> None:
    first, second = (app_of_one().server(ServeOptions()) for _ in range(2))
    await first.listen("127.0.0.1", 0, reuse_port=True)
    await second.listen("127.0.0.1", first.port, reuse_port=True)
    assert first.port == second.port
    for server in (first, second):
        await server.stop()
        await server.wait()


async def test_a_hurried_stop_does_not_wait_for_calls_in_flight() -> None:
    called = asyncio.Event()
    app = BlazeApp()

    @app.model("held")
    async def held(x: int) -> int:
        called.set()
        await asyncio.Event().wait()
        return x

    async with serving(app, grace=600) as run:
        call = asyncio.create_task(run.call("Held", b"\x08\x07"))
        await called.wait()
        await run.server.stop()
        await run.server.stop(hurry=True)
        with pytest.raises(StreamTerminatedError):
            async with asyncio.timeout(PATIENCE):
                await call


async def test_stopping_twice_is_stopping_once() -> None:
    async with serving(app_of_one()) as run:
        await run.server.stop()
        await run.server.stop()


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_calls_in_flight_finish_and_new_ones_are_refused(http: Http) -> None:
    called, let_go = asyncio.Event(), asyncio.Event()
    app = BlazeApp()

    @app.model("held")
    async def held(x: int) -> int:
        called.set()
        await let_go.wait()
        return x

    async with serving(app, grace=PATIENCE, http=http) as run:
        call = asyncio.create_task(run.call("Held", b"\x08\x07"))
        await called.wait()
        await run.server.stop()
        error = await run.failure("Held", b"\x08\x07")
        assert (error.status, error.message) == (Status.UNAVAILABLE, "the server is stopping")
        if http == "blaze":
            # Told to go elsewhere by now, the client tries to.
            await until(lambda: not run.channel._connected)
            with pytest.raises(ConnectionRefusedError):
                await run.call("Held", b"\x08\x07")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", run.port), timeout=1)
        let_go.set()
        assert await call == b"\x08\x07"


async def test_connections_beyond_their_number_are_hung_up_on_until_one_closes() -> None:
    options = ServeOptions(port=0, http="blaze", limits=Limits(max_connections=1))
    async with running(app_of_one().server(options), TransportChannel) as run:
        assert await run.call("Double", b"\x08\x04") == b"\x08\x08"
        # It was hung up on: it comes back in a moment, and not at once.
        async with BlazeClient("127.0.0.1", run.port, backoff=Backoff(initial=0.01)) as late:
            with pytest.raises(Unavailable):
                await late.predict("double", x=1)
            run.channel.close()
            patient = late.with_options(timeout=20, wait_for_ready=True)
            assert await patient.predict("double", x=1) == 2


async def test_connections_that_come_at_once_are_counted_too() -> None:
    options = ServeOptions(port=0, http="blaze", limits=Limits(max_connections=2))
    async with running(app_of_one().server(options), TransportChannel) as run:
        # The system takes them all; the server has no turn before the last.
        sockets = [socket.create_connection(("127.0.0.1", run.port)) for _ in range(20)]
        ends = [await asyncio.open_connection(sock=sock) for sock in sockets]
        said = [asyncio.create_task(reader.read()) for reader, _ in ends]
        await until(lambda: sum(task.done() for task in said) == 18)
        for _, writer in ends:
            writer.close()
            await writer.wait_closed()
        refused = [b"too many connections" in text for text in await asyncio.gather(*said)]
        assert refused.count(True) == 18


async def test_an_http_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="http is 'h3'; it must be 'blaze' or 'h2'"):
        GRPCServer([], http=cast(Http, "h3"))
    with pytest.raises(ConfigurationError, match="http is 'h3'"):
        ServeOptions(http=cast(Http, "h3"))


async def test_a_call_beyond_the_servers_limit_waits_for_another_to_end() -> None:
    options = ServeOptions(port=0, http="blaze", limits=Limits(max_concurrent_streams=1))
    async with running(app_of_one().server(options)) as run:
        app = app_of_one()
        async with BlazeClient("127.0.0.1", run.port, app.registry, http="blaze") as client:
            calls = [client.predict("double", x=number) for number in range(2)]
            assert await asyncio.gather(*calls) == [0, 2]
