"""Servers of another kind at one address or several, and channels to them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Status

from blazerpc_client import (
    Backoff,
    CallOptions,
    RetryPolicy,
)
from blazerpc_client.channel import Channel
from tests.conftest import ROOT

#: Servers that come back are found within a moment.
SOON = Backoff(initial=0.05, maximum=0.1)

RETRY = RetryPolicy(
    max_attempts=5, initial_backoff=0.01, retryable_codes=[Status.UNAVAILABLE], throttling=None
)

PATIENT = CallOptions(timeout=40, wait_for_ready=True)
CALL = CallOptions(timeout=40)


@dataclass(frozen=True)
class Rpc:
    path: str
    request_class: type[Message] = StringValue
    response_class: type[Message] = StringValue
    idempotent: bool = False


SAY, REPEAT = Rpc("/test.Echo/Say"), Rpc("/test.Echo/Repeat")


class Peer:
    """tests.peers.grpcio_server in a process."""

    def __init__(self, address: str = "127.0.0.1:0", *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.peers.grpcio_server", address, *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.target = self._line()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def says(self, health: str) -> None:
        """Have its health service say so, from now on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{health}\n")
        self.process.stdin.flush()
        assert self._line() == health

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def peers(count: int, *options: str) -> Iterator[list[Peer]]:
    found: list[Peer] = []
    try:
        for _ in range(count):
            found.append(Peer("127.0.0.1:0", *options))  # noqa: PERF401 - each is to be killed
        yield found
    finally:
        for peer in found:
            peer.kill()


@asynccontextmanager
async def channel(target: str | Sequence[str], **options: Any) -> AsyncIterator[Channel]:
    made = Channel(target, **{"backoff": SOON, **options})
    try:
        yield made
    finally:
        made.close()
        await asyncio.sleep(0)


async def say(channel: Channel, options: CallOptions = CALL, **wanted: object) -> dict[str, Any]:
    answer = await channel.unary(SAY, StringValue(value=json.dumps(wanted)), options)
    assert isinstance(answer, StringValue)
    found: dict[str, Any] = json.loads(answer.value)
    return found


async def repeat(channel: Channel, heard: list[str], **wanted: object) -> None:
    request = StringValue(value=json.dumps(wanted))
    async for answer in channel.server_stream(REPEAT, request, CALL):
        assert isinstance(answer, StringValue)
        heard.append(answer.value)


async def served_by(channel: Channel, pids: set[int]) -> None:
    """Call until it is these that answer, and no others, a few times in a row."""
    async with asyncio.timeout(40):
        while {(await say(channel))["pid"] for _ in range(3 * len(pids))} != pids:
            await asyncio.sleep(0.01)


def unused_address() -> str:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
    return f"{host}:{port}"


def pid_of(peer: Peer) -> int:
    return peer.process.pid
