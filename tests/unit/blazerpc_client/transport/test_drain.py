"""Connections that are drained, and calls that meet the end of one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from grpclib.exceptions import StreamTerminatedError

from blazerpc_client.transport import frames
from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.stream import UnprocessedError
from tests.unit.blazerpc_client.transport.peers import REQUEST, data, frames_in, request
from tests.unit.blazerpc_client.transport.servers import (
    PATIENCE,
    channel_to,
    echo,
    serving,
    unary,
    until,
)


async def test_a_drain_lets_calls_finish_and_the_next_goes_over_a_new_connection() -> None:
    began, let_go = asyncio.Event(), asyncio.Event()

    async def held(call: Any) -> None:
        message = await call.recv_message()
        if message == b"held":
            began.set()
            await let_go.wait()
        await call.send_message(message)

    async with serving(held) as server, channel_to(server) as channel:
        task = asyncio.create_task(unary(channel, b"held"))
        await began.wait()
        server.protocols[0].drain()
        await until(lambda: not channel._connected)
        assert await unary(channel, b"next") == b"next"
        assert len(server.protocols) == 2
        assert not server.protocols[0].is_closing()
        let_go.set()
        assert await task == b"held"
        await until(lambda: server.protocols[0].is_closing())
        assert await unary(channel, b"last") == b"last"
        assert len(server.protocols) == 2


async def test_a_connection_without_calls_is_closed_by_a_drain() -> None:
    async with serving(echo) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        server.protocols[0].drain()
        await until(lambda: server.protocols[0].is_closing())


async def test_a_request_that_comes_with_the_answer_to_the_drains_ping_is_served() -> None:
    async with serving(echo) as server, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frames.PREFACE + frames.settings({}))
        await until(lambda: bool(server.protocols))
        server.protocols[0].drain()
        said = b""
        while not (pings := [f for f in frames_in(said) if f[0] == frames.FrameType.PING]):
            said += await reader.read(1 << 16)
        # In one piece, as what a client sends in one go may be read.
        message = data(1, b"\0\0\0\0\1a", end=True)
        fields = tuple((name, "/t.T/UU" if name == ":path" else value) for name, value in REQUEST)
        writer.write(frames.ping(pings[0][3], ack=True) + request(1, fields) + message)
        said = await reader.read()
        goodbyes = [f for f in frames_in(said) if f[0] == frames.FrameType.GOAWAY]
        assert [frames.read_goaway(memoryview(f[3]))[0] for f in goodbyes] == [1]
        answers = [f[3] for f in frames_in(said) if f[0] == frames.FrameType.DATA]
        assert answers == [b"\0\0\0\0\1a"]
        writer.close()
        await writer.wait_closed()


async def test_what_a_client_writes_before_it_reads_the_goodbye_meets_no_closed_socket() -> None:
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frames.PREFACE + frames.settings({}) + request(1, end=True))
        async with asyncio.timeout(PATIENCE):
            said = await reader.readuntil(b"grpc-status")
        await until(lambda: not server.protocols[0].in_flight)
        server.protocols[0].drain()
        server.protocols[0]._goodbye()  # as when its ping is answered
        async with asyncio.timeout(PATIENCE):
            said += await reader.read()
            assert [kind for kind, *_ in frames_in(said)].count(7) == 2
            for stream_id in range(3, 23, 2):  # a closed socket resets at the first of them
                writer.write(request(stream_id, end=True))
                await writer.drain()
                await asyncio.sleep(0.001)
        assert not server.protocols[0].in_flight
        assert not server.protocols[0].is_closing()
        async with asyncio.timeout(PATIENCE):
            await until(server.protocols[0].is_closing)  # it does not wait for ever
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_request_on_a_connection_that_has_ended_may_be_sent_again() -> None:
    async with serving(echo) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        protocol: Any = channel._protocol
        stream = protocol.create_stream()
        protocol.close()
        with pytest.raises(UnprocessedError):
            await stream.open(REQUEST, end_stream=True)


async def test_those_who_wait_for_a_free_stream_hear_of_the_end() -> None:
    async def wait(call: Any) -> None:
        await asyncio.sleep(60)

    limits = Limits(max_concurrent_streams=1)
    async with serving(wait, limits) as server, channel_to(server) as channel:
        first = asyncio.create_task(unary(channel, b""))
        await until(lambda: bool(server.protocols) and server.protocols[0].in_flight == 1)
        second = asyncio.create_task(unary(channel, b""))
        await asyncio.sleep(0)
        server.protocols[0].close()
        errors = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(errors[0], StreamTerminatedError)
        assert isinstance(errors[1], UnprocessedError)


async def test_those_who_wait_for_a_free_stream_hear_of_a_goodbye() -> None:
    waiting = asyncio.Event()

    async def wait(call: Any) -> None:
        await call.recv_message()
        await waiting.wait()
        await call.send_message(b"a")

    limits = Limits(max_concurrent_streams=1)
    async with serving(wait, limits) as server, channel_to(server) as channel:
        first = asyncio.create_task(unary(channel, b""))
        await until(lambda: bool(server.protocols) and server.protocols[0].in_flight == 1)
        second = asyncio.create_task(unary(channel, b""))
        await asyncio.sleep(0)
        server.protocols[0].drain()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(UnprocessedError):
                await second
        assert not first.done()
        waiting.set()
        assert await first == b"a"
