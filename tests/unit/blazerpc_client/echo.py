"""A service that says what it is told, and calls of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from blazerpc_client import CallOptions
from blazerpc_client.channel import Channel


@dataclass(frozen=True)
class Call:
    path: str
    request_class: type[Message] = StringValue
    response_class: type[Message] = StringValue
    idempotent: bool = False


ECHO, STREAM = Call("/test.Echo/Say"), Call("/test.Echo/Repeat")


def text(message: Message) -> str:
    assert isinstance(message, StringValue)
    return message.value


#: No answer takes so long; a call that hangs fails, and says so.
SOON = CallOptions(timeout=5)


class Echo:
    """Says what it is told; ``Repeat`` says it three times, and fails when that is "fail"."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    async def say(self, stream: Stream[StringValue, StringValue]) -> None:
        message = await stream.recv_message()
        assert message is not None
        assert stream.metadata is not None
        self.metadata = dict(stream.metadata)
        await stream.send_message(message)

    async def repeat(self, stream: Stream[StringValue, StringValue]) -> None:
        message = await stream.recv_message()
        assert message is not None
        for _ in range(3):
            await stream.send_message(message)
        if message.value == "fail":
            raise GRPCError(Status.ABORTED, "half way")

    def __mapping__(self) -> dict[str, Handler]:
        return {
            ECHO.path: Handler(self.say, Cardinality.UNARY_UNARY, StringValue, StringValue),
            STREAM.path: Handler(self.repeat, Cardinality.UNARY_STREAM, StringValue, StringValue),
        }


async def say(target: str, options: CallOptions = SOON) -> str:
    channel = Channel(target)
    try:
        return text(await channel.unary(ECHO, StringValue(value="a"), options))
    finally:
        channel.close()
        await asyncio.sleep(0)


async def repeat(target: str, value: str, heard: list[str]) -> None:
    channel = Channel(target)
    try:
        request = StringValue(value=value)
        async for message in channel.server_stream(STREAM, request, SOON):
            heard.append(text(message))  # noqa: PERF401 - those before an error count
    finally:
        channel.close()
        await asyncio.sleep(0)
