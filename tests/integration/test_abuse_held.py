"""Clients that have a server hold what it can be made to hold, and never let go."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
import time
from contextlib import ExitStack

import psutil
import pytest

from blazerpc_client.transport import frames
from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.frames import END_STREAM, FrameType
from tests.conftest import ServerProcess, StartServer
from tests.integration.attackers import (
    HELLO,
    PATIENCE,
    attacker,
    data,
    first_field,
    frame,
    goodbye,
    harmless,
    message,
    request,
)


@pytest.fixture(scope="module")
def strict(start_module_server: StartServer) -> ServerProcess:
    """A server with less patience, and room for fewer."""
    limits = {
        "handshake_timeout": 0.5,
        "idle_timeout": 1,
        "stall_timeout": 1,
        "max_connections": 20,
    }
    return start_module_server(
        "tests.apps.wire:app",
        "--limits",
        json.dumps(limits),
        program=("-m", "tests.peers.wire_server"),
    )


def say_and_wait(server: ServerProcess, raw: bytes) -> list[tuple[int, int, bytes]]:
    """Say ``raw`` and no more; return what the server said until it hung up."""
    with attacker(server) as one:
        one.say(raw)
        return one.listen()


# What never comes.

SLOW = {
    "nothing": b"",
    "half a preface": frames.PREFACE[:10],
    "a preface alone": frames.PREFACE,
    "half of its settings": frames.PREFACE + frames.settings({4: 1})[:12],
}


@pytest.mark.parametrize("raw", SLOW.values(), ids=SLOW)
async def test_a_client_that_does_not_introduce_itself_is_hung_up_on(
    strict: ServerProcess, raw: bytes
) -> None:
    async with harmless(strict):
        heard = await asyncio.to_thread(say_and_wait, strict, raw)
        assert [kind for kind, *_ in heard] == [FrameType.SETTINGS, FrameType.WINDOW_UPDATE]


SLOW_HEADERS = {
    "a head alone": frames.head(100, FrameType.HEADERS, 4, 1),
    "half of a block": frames.head(100, FrameType.HEADERS, 4, 1) + bytes(50),
    "a block without its end": frame(FrameType.HEADERS, 0, 1, bytes(50)),
    "a frame that is dropped": frames.head(1 << 20, 0x77, 0, 0) + bytes(50),
}


@pytest.mark.parametrize("raw", SLOW_HEADERS.values(), ids=SLOW_HEADERS)
async def test_headers_that_do_not_end_are_no_call_and_keep_no_idle_connection(
    strict: ServerProcess, raw: bytes
) -> None:
    async with harmless(strict):
        heard = await asyncio.to_thread(say_and_wait, strict, HELLO + raw)
        assert goodbye(heard) is ErrorCode.NO_ERROR


async def test_headers_byte_by_byte_are_read_and_others_served(wire: ServerProcess) -> None:
    def attack() -> None:
        with attacker(wire) as one:
            for byte in HELLO + request(1, "Echo") + data(1, message(first_field(b"a")), end=True):
                one.say(bytes([byte]))
            assert one.listen_for(FrameType.DATA, 1) == message(first_field(b"a"))

    async with harmless(wire):
        await asyncio.to_thread(attack)


@pytest.mark.parametrize("last", [b"", frames.head(1 << 20, FrameType.DATA, 0, 1) + b"a"])
async def test_what_is_announced_and_does_not_come_takes_nothing(
    wire: ServerProcess, last: bytes
) -> None:
    """256 messages of 4 MiB on each of 10 connections: 10 GiB."""

    def attack() -> None:
        with ExitStack() as stack:
            announced = struct.pack(">BI", 0, 4 << 20) + b"a"
            raw = b"".join(request(n, "Wait") + data(n, announced) for n in range(1, 512, 2))
            for _ in range(10):
                one = stack.enter_context(attacker(wire))
                one.say(HELLO + raw + last)
                if not last:
                    one.say(frames.ping(b"12345678"))
                    assert one.listen_for(FrameType.PING, 0) == b"12345678"

    async with harmless(wire, growth=128 << 20):
        await asyncio.to_thread(attack)


async def test_a_message_that_announces_too_much_is_refused_at_once(wire: ServerProcess) -> None:
    def attack() -> bytes:
        with attacker(wire) as one:
            one.say(HELLO + request(1, "Echo") + data(1, struct.pack(">BI", 0, (4 << 20) + 1)))
            return one.listen_for(FrameType.HEADERS, 1)

    async with harmless(wire):
        said = await asyncio.to_thread(attack)
        # RESOURCE_EXHAUSTED, as literals: our server puts nothing into tables.
        assert b"\x0bgrpc-status\x018" in said
        assert b"4194305 bytes came, 4194304 are allowed" in said.replace(b"%20", b" ")


NEVER_COMING = {
    "all of it": b"",
    "the rest of a prefix": data(1, b"\0\0\0"),
    "the rest of a message": data(1, message(bytes(100))[:50]),
}


@pytest.mark.parametrize("raw", NEVER_COMING.values(), ids=NEVER_COMING)
async def test_a_request_that_does_not_come_is_given_up(strict: ServerProcess, raw: bytes) -> None:
    def attack() -> bytes:
        with attacker(strict) as one:
            one.say(HELLO + request(1, "Echo") + raw)
            said = one.listen_for(FrameType.HEADERS, 1)
            assert one.listen_for(FrameType.RST_STREAM, 1) == bytes(4)
            return said

    async with harmless(strict):
        assert b"\x0bgrpc-status\x014" in await asyncio.to_thread(attack)


async def test_a_request_that_comes_slowly_is_waited_for(strict: ServerProcess) -> None:
    body = message(first_field(b"abcdefgh"))

    def attack() -> None:
        with attacker(strict) as one:
            one.say(HELLO + request(1, "Echo"))
            for byte in body:  # for longer than ``stall_timeout`` altogether
                one.say(data(1, bytes([byte])))
                time.sleep(0.1)
            one.say(data(1, b"", end=True))
            assert one.listen_for(FrameType.DATA, 1) == body

    async with harmless(strict):
        await asyncio.to_thread(attack)


async def test_compressed_messages_that_nobody_asks_for_stay_as_they_are(
    wire: ServerProcess,
) -> None:
    """A thousand of 4 MiB each, in 4 MiB of window."""
    bomb = message(gzip.compress(first_field(bytes((4 << 20) - 10))), flag=1)
    many = bomb * 900

    def attack() -> None:
        with attacker(wire) as one:
            one.say(HELLO + request(1, "Wait", ("grpc-encoding", "gzip")))
            for begin in range(0, len(many), 16384):
                one.say(data(1, many[begin : begin + 16384]))
            one.say(frames.ping(b"12345678"))
            assert one.listen_for(FrameType.PING, 0) == b"12345678"
            held.append(bystander.memory())

    held: list[int] = []
    async with harmless(wire) as bystander:
        before = bystander.memory()
        await asyncio.to_thread(attack)
        assert held[0] - before < 48 << 20


async def test_a_bomb_is_refused(wire: ServerProcess) -> None:
    bomb = gzip.compress(bytes(1 << 28), compresslevel=1)

    def attack() -> bytes:
        with attacker(wire) as one:
            one.say(HELLO + request(1, "Echo", ("grpc-encoding", "gzip")))
            body = message(bomb, flag=1)
            for begin in range(0, len(body), 16384):
                one.say(data(1, body[begin : begin + 16384]))
            return one.listen_for(FrameType.HEADERS, 1)

    async with harmless(wire):
        said = await asyncio.to_thread(attack)
        assert b"\x0bgrpc-status\x018" in said


# What is never read.


async def test_a_window_that_is_never_opened_resets_its_calls(strict: ServerProcess) -> None:
    def attack() -> list[tuple[int, int, bytes]]:
        with attacker(strict) as one:
            raw = [
                request(n, "Repeat") + data(n, message(first_field(b"a") + b"\x10\x09"), end=True)
                for n in range(1, 200, 2)
            ]
            one.say(frames.PREFACE + frames.settings({4: 0}) + b"".join(raw))
            return one.listen()  # until it has no calls any more, and is idle

    async with harmless(strict):
        heard = await asyncio.to_thread(attack)
    resets = {stream: payload for kind, stream, payload in heard if kind == FrameType.RST_STREAM}
    assert resets == {n: struct.pack(">I", ErrorCode.CANCEL) for n in range(1, 200, 2)}
    assert goodbye(heard) is ErrorCode.NO_ERROR


@pytest.mark.parametrize("last", [b"", frames.window_update(0, 0)], ids=["silent", "with a fault"])
async def test_a_client_that_never_reads_is_given_up(strict: ServerProcess, last: bytes) -> None:
    """Its windows are open: it is the socket that is full."""
    body = message(first_field(bytes(1 << 20)) + b"\x10\x80\x08")  # a megabyte, 1024 times

    async with harmless(strict, growth=128 << 20):
        with ExitStack() as stack:
            for _ in range(10):
                one = stack.enter_context(attacker(strict, small=True))
                one.say(HELLO + frames.settings({4: 0x7FFFFFFF}) + frames.window_update(0, 1 << 30))
                one.say(request(1, "Repeat"))
                for begin in range(0, len(body), 16384):
                    one.say(data(1, body[begin : begin + 16384]))
                one.say(frame(FrameType.DATA, END_STREAM, 1) + last)
            # They stay: it is the server that lets go.
            await let_go(strict, 1)


async def let_go(server: ServerProcess, connections: int) -> None:
    """Wait until the server has no more than so many connections."""
    process = psutil.Process(server.process.pid)
    async with asyncio.timeout(PATIENCE):
        while established(process) > connections:
            await asyncio.sleep(0.01)


def established(process: psutil.Process) -> int:
    return sum(each.status != psutil.CONN_LISTEN for each in process.net_connections())


# Connections.


async def test_connections_beyond_their_number_are_told_so_and_others_served(
    strict: ServerProcess,
) -> None:
    async with harmless(strict):
        with ExitStack() as stack:
            ends = [stack.enter_context(attacker(strict)) for _ in range(60)]
            for one in ends:
                one.say(HELLO)
            heard = await asyncio.gather(*(asyncio.to_thread(one.listen) for one in ends))
        # Those that were let in have made no call: they are idle, and told so later.
        why = [goodbye(each) for each in heard]
        assert why.count(ErrorCode.ENHANCE_YOUR_CALM) == 60 - 19
        assert why.count(ErrorCode.NO_ERROR) == 19


async def test_many_connections_that_come_and_go_leave_nothing(wire: ServerProcess) -> None:
    def attack() -> None:
        for number in range(500):
            with attacker(wire) as one:
                one.say((HELLO + request(1, "Wait"))[: number % 150])

    async with harmless(wire):
        await asyncio.to_thread(attack)
