"""Whoever does not read or breaks the rules is hung up on and leaves nothing; others are served."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from blazerpc_client.transport import frames
from blazerpc_client.transport.limits import Limits, Pace
from tests.unit.blazerpc_client.transport.peers import REQUEST, frame, frames_in, request
from tests.unit.blazerpc_client.transport.servers import (
    PATIENCE,
    channel_to,
    echo,
    serving,
    unary,
    until,
)

HELLO = frames.PREFACE + frames.settings({4: 0x7FFFFFFF}) + frames.window_update(0, 0x7FFF0000)


async def test_a_client_of_endless_windows_that_does_not_read_takes_little_memory() -> None:
    sent = 0

    async def flood(call: Any) -> None:
        nonlocal sent
        while True:
            await call.send_message(bytes(10_000))
            sent += 1

    async with serving(flood) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        path = ((":path", "/t.T/US"),)
        writer.write(HELLO + request(1, (*REQUEST[:2], *path, *REQUEST[3:])))
        await until(lambda: bool(server.protocols) and not server.protocols[0].can_write)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        transport: Any = server.protocols[0]._transport
        assert transport.get_write_buffer_size() < 2 << 20
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: server.handlers[0].check_closed())


@pytest.mark.parametrize("last", [b"", frames.window_update(0, 0)], ids=["silent", "a fault"])
async def test_a_peer_that_does_not_read_in_time_is_hung_up_on(last: bytes) -> None:
    async def flood(call: Any) -> None:
        while True:
            await call.send_message(bytes(10_000))

    async with serving(flood, Limits(stall_timeout=0.2)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        path = ((":path", "/t.T/US"),)
        writer.write(HELLO + request(1, (*REQUEST[:2], *path, *REQUEST[3:])))
        await until(lambda: bool(server.protocols) and not server.protocols[0].can_write)
        writer.write(last)
        transport: Any = server.protocols[0]._transport
        # What is left to send would keep the socket for as long as the client likes.
        await until(lambda: transport.get_extra_info("socket").fileno() == -1)
        await until(lambda: server.handlers[0].check_closed())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_peer_that_reads_again_is_waited_for_anew() -> None:
    async with serving(echo) as server, channel_to(server) as channel:
        assert await unary(channel, b"a") == b"a"
        protocol: Any = server.protocols[0]
        protocol.pause_writing()
        assert protocol._stall is not None
        protocol.resume_writing()
        assert protocol._stall is None
        protocol.pause_writing()
        protocol.close()
        await until(lambda: protocol._stall is None)


@pytest.mark.parametrize("path", ["/t.T/UU", "/t.T/None"])
async def test_requests_that_come_together_with_their_reset_leave_nothing(path: str) -> None:
    fields = (*REQUEST[:2], (":path", path), *REQUEST[3:])
    pairs = [request(n, fields) + frames.rst_stream(n, 8) for n in range(1, 400, 2)]
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HELLO + b"".join(pairs) + frame(6, 0, 0, bytes(8)))
        said = b""
        async with asyncio.timeout(PATIENCE):
            while frames.ping(bytes(8), ack=True) not in said:
                said += await reader.read(1 << 16)
        await until(lambda: server.handlers[0].check_closed())
        assert server.protocols[0].in_flight == 0
        assert not server.protocols[0].is_closing()
        writer.close()
        await writer.wait_closed()


async def test_a_connection_that_fails_together_with_requests_leaves_nothing() -> None:
    fields = (*REQUEST[:2], (":path", "/t.T/None"), *REQUEST[3:])
    raw = request(1) + request(3, fields) + frames.window_update(0, 0)
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HELLO + raw)
        async with asyncio.timeout(PATIENCE):
            said = await reader.read()
        assert frames_in(said)[-1][0] == frames.FrameType.GOAWAY
        await until(lambda: server.handlers[0].check_closed())
        assert server.protocols[0].in_flight == 0
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_never_reads_its_answers_is_given_up() -> None:
    async with serving(echo, Limits(max_concurrent_streams=1 << 20)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(HELLO)
        stream_id = 1
        with contextlib.suppress(ConnectionError):
            while not server.protocols or not server.protocols[0].is_closing():
                for _ in range(1000):
                    writer.write(request(stream_id, end=True))
                    stream_id += 2
                await writer.drain()
                await asyncio.sleep(0)
        # Forty bytes and more for each of the answers: they were not kept for ever.
        assert stream_id < 5_000_000
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert not server.protocols[0].in_flight


FLOODS = {
    "no HTTP/2": b"GET / HTTP/1.1\r\n\r\n",
    "pings": frames.PREFACE + frames.settings({}) + frame(6, 0, 0, bytes(8)) * 100,
    "settings": frames.PREFACE + frames.settings({}) * 100,
    "a frame too large": frames.PREFACE + frames.settings({}) + frames.head(1 << 23, 1, 4, 1),
}


@pytest.mark.parametrize("raw", FLOODS.values(), ids=FLOODS)
async def test_abuse_ends_its_connection_and_leaves_nothing(raw: bytes) -> None:
    limits = Limits(pings=Pace(10, 1), settings=Pace(10, 1))
    before = asyncio.all_tasks()
    async with serving(echo, limits) as server, channel_to(server) as channel:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw)
        async with asyncio.timeout(PATIENCE):
            said = await reader.read()
        assert frames_in(said)[-1][0] == frames.FrameType.GOAWAY
        writer.close()
        await writer.wait_closed()
        assert await unary(channel, b"a") == b"a"
        assert server.protocols[0].is_closing()
        assert server.protocols[0].in_flight == 0
    assert asyncio.all_tasks() == before
