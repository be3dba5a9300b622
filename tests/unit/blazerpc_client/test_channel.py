"""Calls over a channel: what comes back, how long it may take, and when a call is made again."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.server import Stream
from h2.connection import H2Connection
from h2.errors import ErrorCodes

from blazerpc_client import (
    Aborted,
    Backoff,
    CallOptions,
    DeadlineExceeded,
    InvalidArgument,
    Limits,
    RpcError,
    Unavailable,
    Unimplemented,
)
from blazerpc_client.channel import Channel
from tests.unit.blazerpc_client.echo import ECHO, SOON, STREAM, Echo, repeat, say, text
from tests.unit.blazerpc_client.servers import (
    DONE,
    MESSAGE,
    OK,
    address,
    answer,
    answering,
    serving_handlers,
)


async def test_a_call_is_answered() -> None:
    async with serving_handlers(Echo()) as target:
        assert await say(target) == "a"


async def test_metadata_arrives() -> None:
    echo = Echo()
    async with serving_handlers(echo) as target:
        await say(target, CallOptions(metadata={"token": "a b", "raw-bin": b"\xff\0"}))
    assert echo.metadata == {"token": "a b", "raw-bin": b"\xff\0"}


async def test_a_stream_is_heard_to_its_end() -> None:
    heard: list[str] = []
    async with serving_handlers(Echo()) as target:
        await repeat(target, "a", heard)
    assert heard == ["a"] * 3


async def test_what_came_before_a_stream_failed_is_heard() -> None:
    heard: list[str] = []
    async with serving_handlers(Echo()) as target:
        with pytest.raises(Aborted, match="half way"):
            await repeat(target, "fail", heard)
    assert heard == ["fail"] * 3


async def test_a_stream_can_be_left_early() -> None:
    async with serving_handlers(Echo()) as target:
        channel = Channel(target)
        async for message in channel.server_stream(STREAM, StringValue(value="a"), SOON):
            assert text(message) == "a"
            break
        # The connection goes on.
        assert text(await channel.unary(ECHO, StringValue(value="b"), SOON)) == "b"
        channel.close()
        await asyncio.sleep(0)


async def test_a_method_that_is_not_there_is_unimplemented() -> None:
    async with serving_handlers() as target:
        with pytest.raises(Unimplemented):
            await say(target)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_nobody_listens(host: str) -> None:
    with pytest.raises(Unavailable, match=rf"^cannot reach {host}:1: ".replace("[", r"\[")):
        await say(f"{host}:1")


@pytest.mark.parametrize(
    "host", ["no such host", "nothing.invalid", "a..b", "x" * 70, "é" * 70, "a\0b"], ids=range(6)
)
async def test_a_host_that_is_none_cannot_be_reached(host: str) -> None:
    with pytest.raises(RpcError, match=r"cannot reach|has the form"):
        await say(f"{host}:80")


async def test_a_server_that_never_answers_exceeds_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="deadline exceeded"):
            await say(address(listener), CallOptions(timeout=0.05))
    assert 0.04 < time.monotonic() - started < 2


async def test_a_deadline_holds_for_a_stream_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        channel = Channel(address(listener))
        options = CallOptions(timeout=0.05)
        with pytest.raises(DeadlineExceeded):
            async for _ in channel.server_stream(STREAM, StringValue(), options):
                pass
        channel.close()
        await asyncio.sleep(0)


async def test_a_deadline_of_nothing_is_over_at_once() -> None:
    async with serving_handlers(Echo()) as target:
        with pytest.raises(DeadlineExceeded):
            await say(target, CallOptions(timeout=0))


async def test_a_channel_connects_again_when_its_server_is_back() -> None:
    request = StringValue(value="?")
    async with answering(answer(OK, MESSAGE, DONE)) as target:
        channel = Channel(target)
        assert text(await channel.unary(ECHO, request, SOON)) == "a"
    with pytest.raises(Unavailable, match=f"cannot reach {target}"):
        await channel.unary(ECHO, request, SOON)
    async with answering(answer(OK, MESSAGE, DONE), int(target.rpartition(":")[2])):
        with pytest.raises(Unavailable, match=r"; the next attempt is in [01]\.[0-9] s$"):
            await channel.unary(ECHO, request, SOON)
        patient = CallOptions(timeout=5, wait_for_ready=True)
        assert text(await channel.unary(ECHO, request, patient)) == "a"
        assert text(await channel.unary(ECHO, request, SOON)) == "a"
        channel.close()
        await asyncio.sleep(0)


class Refusing:
    """Refuses the first requests before it begins them (RFC 9113, section 8.7)."""

    def __init__(self, refused: int) -> None:
        self.requests = 0
        self._refused = refused

    def __call__(self, connection: H2Connection, stream: int) -> None:
        self.requests += 1
        if self.requests <= self._refused:
            connection.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        else:
            answer(OK, MESSAGE, DONE)(connection, stream)


@pytest.mark.parametrize("shape", ["unary", "stream"])
@pytest.mark.parametrize("refused", [2, 3])
async def test_a_call_that_no_server_has_begun_is_made_again_twice(
    shape: str, refused: int
) -> None:
    script = Refusing(refused)
    heard: list[str] = []
    async with answering(script) as target:
        channel = Channel(target, http="blaze")  # grpclib's HTTP/2 does not tell such a failure

        async def call() -> None:
            if shape == "unary":
                heard.append(text(await channel.unary(ECHO, StringValue(), SOON)))
            else:
                stream = channel.server_stream(STREAM, StringValue(), SOON)
                heard.extend([text(message) async for message in stream])

        try:
            if refused == 2:
                await call()
            else:
                with pytest.raises(Unavailable):
                    await call()
        finally:
            channel.close()
    assert (heard, script.requests) == (["a"] if refused == 2 else [], 3)


async def test_the_wait_for_the_next_attempt_grows() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = address(listener)
    backoff = Backoff(initial=0.1, multiplier=100, maximum=3600, jitter=0)
    channel = Channel(target, backoff=backoff)
    told = ""
    async with asyncio.timeout(20):
        while not re.search(r"; the next attempt is in (9|10)\.[0-9] s$", told):
            with pytest.raises(Unavailable) as error:
                await channel.unary(ECHO, StringValue(), SOON)
            told = error.value.message
            await asyncio.sleep(0.001)
    channel.close()


class SilentHealth(HealthBase):
    """Takes questions, and answers none."""

    async def Check(self, stream: Stream[Any, Any]) -> None:  # noqa: N802 - the rpc's name
        raise NotImplementedError

    async def Watch(self, stream: Stream[Any, Any]) -> None:  # noqa: N802 - likewise
        await asyncio.Event().wait()


async def test_a_server_that_says_nothing_of_its_health_gets_no_calls() -> None:
    async with serving_handlers(Echo(), SilentHealth()) as target:
        channel = Channel(target, health=True, limits=Limits(handshake_timeout=0.2))
        told = "no health of the server: deadline exceeded$"
        with pytest.raises(Unavailable, match=told):
            await channel.unary(ECHO, StringValue(), SOON)
        channel.close()
        await asyncio.sleep(0)


async def test_a_server_without_health_serves() -> None:
    async with serving_handlers(Echo()) as target:
        channel = Channel(target, health=True)
        assert text(await channel.unary(ECHO, StringValue(value="a"), SOON)) == "a"
        channel.close()
        await asyncio.sleep(0)


async def test_closing_fails_the_calls_in_flight() -> None:
    arrived = asyncio.Event()
    async with answering(lambda connection, stream: arrived.set()) as target:
        channel = Channel(target)
        call = asyncio.create_task(channel.unary(ECHO, StringValue(), SOON))
        await arrived.wait()
        channel.close()
        with pytest.raises(Unavailable, match=target):
            await call


def test_closing_what_was_never_open_does_nothing() -> None:
    Channel("localhost:1").close()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"limits": 3}, "limits"),
        ({"backoff": 1}, "backoff"),
        ({"health": 3}, "health"),
        ({"retry": 3}, "retry"),
        ({"target": 5}, "target"),
    ],
)
def test_an_option_of_another_kind_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Channel(**{"target": "127.0.0.1:1", **options})
    assert caught.value.field == field
