"""When a connection is pinged, given up, or ended."""

from __future__ import annotations

import asyncio
from typing import Any

from blazerpc_client.transport import frames
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.liveness import Liveness
from tests.unit.blazerpc_client.transport.peers import frames_in
from tests.unit.blazerpc_client.transport.servers import (
    PATIENCE,
    channel_to,
    echo,
    serving,
    unary,
    until,
)


def of(*, client: bool = False, **limits: float | None) -> Liveness:
    options: dict[str, Any] = {"keepalive_time": None, **limits}
    return Liveness(Limits(**options), client=client, now=0.0)


def test_a_peer_that_does_not_greet_is_given_up() -> None:
    liveness = of(handshake_timeout=3)
    liveness.greet(1.0)
    assert not liveness.is_overdue(3.9)
    assert liveness.pause(3.0, busy=False) == 1.0
    assert liveness.is_overdue(4.0)
    assert liveness.answered()
    assert not liveness.answered()
    assert not liveness.is_overdue(9.0)


def test_a_silent_peer_is_pinged_once_until_it_answers() -> None:
    liveness = of(keepalive_time=10, keepalive_timeout=2)
    liveness.heard = 5.0
    assert not liveness.should_ping(14.9)
    assert liveness.pause(14.0, busy=False) == 1.0
    assert liveness.should_ping(15.0)
    assert not liveness.should_ping(16.0)
    assert liveness.pause(16.0, busy=False) == 1.0
    assert liveness.is_overdue(17.0)
    liveness.heard = 16.5
    assert liveness.answered()
    assert not liveness.is_overdue(17.0)
    assert not liveness.should_ping(26.4)
    assert liveness.should_ping(26.5)


def test_only_a_server_ends_connections_that_nobody_uses() -> None:
    server, client = of(idle_timeout=10), of(client=True, idle_timeout=10)
    for liveness in (server, client):
        liveness.used = 5.0
    assert not server.should_end(14.9, busy=False)
    assert server.pause(14.0, busy=False) == 1.0
    assert not server.should_end(20.0, busy=True)
    assert server.should_end(15.0, busy=False)
    assert not client.should_end(1000.0, busy=False)
    assert client.pause(0.0, busy=False) == 60.0


def test_an_old_connection_is_ended_though_it_is_in_use() -> None:
    ends = []
    for _ in range(200):
        liveness = of(max_connection_age=100)
        assert not liveness.should_end(89.9, busy=True)
        assert liveness.should_end(110.1, busy=True)
        ends.append(next(t for t in range(89, 112) if liveness.should_end(t, busy=True)))
    # Not all at one time.
    assert len(set(ends)) > 5
    assert of(max_connection_age=100).pause(85.0, busy=True) <= 25.0
    assert of(max_connection_age=1).pause(85.0, busy=True) == 60.0
    assert not of(client=True, max_connection_age=1).should_end(100.0, busy=False)


async def test_a_call_on_an_old_connection_finishes_and_the_next_goes_over_another() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(call: Any) -> None:
        message = await call.recv_message()
        begun.set()
        await go_on.wait()
        await call.send_message(message)

    limits = Limits(max_connection_age=0.05)
    async with serving(slow, limits) as server, channel_to(server) as channel:
        first = asyncio.create_task(unary(channel, b"a"))
        await begun.wait()
        await until(lambda: not server.protocols[0].core.accepts_streams)
        second = asyncio.create_task(unary(channel, b"b"))
        await until(lambda: len(server.protocols) == 2)
        go_on.set()
        assert (await first, await second) == (b"a", b"b")
        await until(lambda: server.protocols[0].is_closing())


async def test_a_young_connection_stays() -> None:
    limits = Limits(max_connection_age=1000)
    async with serving(echo, limits) as server, channel_to(server) as channel:
        assert [await unary(channel, b"a") for _ in range(3)] == [b"a"] * 3
        assert len(server.protocols) == 1


async def test_a_client_that_says_nothing_is_hung_up_on() -> None:
    async with serving(echo, Limits(handshake_timeout=0.05)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(PATIENCE):
            await reader.read()
        writer.close()
        await writer.wait_closed()
        assert server.protocols[0].is_closing()


async def test_a_connection_that_nobody_uses_is_closed() -> None:
    async with serving(echo, Limits(idle_timeout=0.05)) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        await until(lambda: server.protocols[0].is_closing())
        assert await unary(channel, b"b") == b"b"
        assert len(server.protocols) == 2


async def test_a_connection_is_closed_in_time_after_a_call_that_lasted_longer() -> None:
    async def slow(call: Any) -> None:
        message = await call.recv_message()
        await asyncio.sleep(0.2)
        await call.send_message(message)

    async with serving(slow, Limits(idle_timeout=0.05)) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        await until(lambda: server.protocols[0].is_closing())


async def test_a_peer_that_answers_no_ping_is_hung_up_on() -> None:
    limits = Limits(keepalive_time=0.05, keepalive_timeout=0.05)
    async with serving(echo, limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frames.PREFACE + frames.settings({}))
        async with asyncio.timeout(PATIENCE):
            said = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert frames.FrameType.PING in [kind for kind, *_ in frames_in(said)]
        assert server.protocols[0].is_closing()


async def test_a_peer_that_answers_pings_stays() -> None:
    limits = Limits(keepalive_time=0.02, keepalive_timeout=0.05)
    async with serving(echo, limits) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        await asyncio.sleep(0.3)
        assert await unary(channel, b"a") == b"a"
        assert len(server.protocols) == 1
