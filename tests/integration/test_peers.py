"""grpcio and grpc-js at the other end of real connections, in both roles, and nginx between."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from multidict import MultiDict

from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.limits import Limits
from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.attackers import harmless
from tests.integration.peers import (
    FEW,
    GRPCIO,
    GZIP,
    SIZES,
    called,
    grpc_js,
    nginx,
    program,
    serving,
    start_wire,
)
from tests.peers.grpcio_wire import METADATA, TIMES, wrapped
from tests.unit.blazerpc_client.transport.servers import channel_to, stream_of, unary

pytestmark = pytest.mark.peers

LARGE = 32 << 20

#: What a client says when all is well.
WELL = {
    "many": 200,
    "serverStream": TIMES,
    "clientStream": 50,
    "chat": 50,
    "metadata": True,
    "cancelled": "CANCELLED",
    "late": "DEADLINE_EXCEEDED",
    "failure": ["ABORTED", "no, é"],
    "unknown": "UNIMPLEMENTED",
    "tooLarge": "RESOURCE_EXHAUSTED",
    "tooLong": "RESOURCE_EXHAUSTED",
    "still": 200,
}


def client(name: str) -> list[str]:
    return [*GRPCIO, "client"] if name == "grpcio" else grpc_js("client")


def server(name: str) -> list[str]:
    return [*GRPCIO, "server"] if name == "grpcio" else grpc_js("server")


both = pytest.mark.parametrize("name", ["grpcio", "grpc-js"])


@pytest.fixture(scope="module")
def large(start_module_server: StartServer) -> ServerProcess:
    """A server that takes large messages."""
    return start_wire(start_module_server, max_receive_message=LARGE)


@pytest.fixture(scope="module")
def compressing(start_module_server: StartServer) -> ServerProcess:
    """A server that compresses its answers."""
    return start_wire(start_module_server, "--compression", "gzip", max_receive_message=LARGE)


@pytest.fixture(scope="module")
def tiny(start_module_server: StartServer) -> ServerProcess:
    """A server with windows, frames and numbers of streams that are as small as they can be."""
    return start_wire(
        start_module_server,
        max_receive_message=LARGE,
        stream_window=100,
        connection_window=65_535,
        max_frame_size=16_384,
        max_concurrent_streams=3,
    )


@both
@pytest.mark.parametrize("options", [{}, GZIP], ids=["identity", "gzip"])
async def test_a_client_calls_our_server(
    large: ServerProcess, name: str, options: dict[str, Any]
) -> None:
    # What it holds of large messages is no leak: the growth is that of its allocator.
    async with harmless(large, growth=512 << 20):
        answer = await asyncio.to_thread(called, client(name), large.target, options, SIZES)
    assert answer == {"sizes": len(SIZES), **WELL}


@both
@pytest.mark.parametrize("options", [{}, GZIP], ids=["identity", "gzip"])
async def test_a_client_reads_compressed_answers(
    compressing: ServerProcess, name: str, options: dict[str, Any]
) -> None:
    async with harmless(compressing, growth=512 << 20):
        answer = await asyncio.to_thread(called, client(name), compressing.target, options, SIZES)
    assert answer == {"sizes": len(SIZES), **WELL}


@both
async def test_a_client_calls_our_server_through_tiny_windows(
    tiny: ServerProcess, name: str
) -> None:
    async with harmless(tiny, growth=512 << 20):
        answer = await asyncio.to_thread(called, client(name), tiny.target, {}, FEW)
    assert answer == {"sizes": len(FEW), **WELL}


async def test_a_client_of_tiny_windows_is_served(large: ServerProcess) -> None:
    options = {"grpc-node.flow_control_window": 100}
    async with harmless(large, growth=512 << 20):
        command = grpc_js("client")
        answer = await asyncio.to_thread(called, command, large.target, options, FEW)
    assert answer == {"sizes": len(FEW), **WELL}


@both
@pytest.mark.parametrize("keepalive", [1, 64], ids=["few connections", "many connections"])
async def test_nginx_stands_between(
    large: ServerProcess, name: str, keepalive: int, tmp_path: Path
) -> None:
    async with harmless(large, growth=512 << 20):
        with nginx(large.target, tmp_path, keepalive=keepalive) as address:
            answer = await asyncio.to_thread(called, client(name), address, {}, SIZES)
    # What our server resets, nginx answers with 502.
    assert answer == {"sizes": len(SIZES), **WELL, "tooLong": "UNAVAILABLE"}


def test_what_nginx_costs_is_measured() -> None:
    program("nginx", "nginx-light")
    command = [sys.executable, "-m", "benchmarks.proxy", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("by nginx") == done.stdout.count("straight") == 4


# Our client.

WINDOWS = {
    "usual windows": Limits(max_receive_message=LARGE),
    "tiny windows": Limits(
        max_receive_message=LARGE,
        stream_window=100,
        connection_window=65_535,
        max_frame_size=16_384,
    ),
}


@both
@pytest.mark.parametrize("options", [{}, GZIP], ids=["identity", "gzip"])
@pytest.mark.parametrize("limits", WINDOWS.values(), ids=WINDOWS)
async def test_our_client_calls_a_server(
    name: str, options: dict[str, Any], limits: Limits
) -> None:
    with serving([*server(name), json.dumps(options)]) as target:
        port = int(target.rpartition(":")[2])
        async with channel_to(port, limits) as channel:
            sizes = SIZES if limits is WINDOWS["usual windows"] else FEW
            await check_unary(channel, sizes)
            # grpc-js compresses what it asks, and not what it answers.
            compressed = options is GZIP and name == "grpcio"
            await check_streams(channel, "gzip" if compressed else "identity")
            await check_metadata(channel)
            await check_ends(channel)


async def check_unary(channel: TransportChannel, sizes: list[int]) -> None:
    for size in sizes:
        message = wrapped(b"a" * size)
        assert await unary(channel, message, path="/wire.Shapes/UnaryUnary") == message
    messages = [wrapped(str(number).encode()) for number in range(200)]
    calls = [unary(channel, message, path="/wire.Shapes/UnaryUnary") for message in messages]
    assert await asyncio.gather(*calls) == messages


async def check_streams(channel: TransportChannel, encoding: str) -> None:
    message = wrapped(b"a" * 5000)
    stream = call(channel, "UnaryStream", Cardinality.UNARY_STREAM)
    async with stream:
        await stream.send_message(message)
        assert [answer async for answer in stream] == [message] * TIMES
        said = dict(stream_of(stream).headers or ())
        assert said.get("grpc-encoding", "identity") == encoding
    stream = call(channel, "StreamUnary", Cardinality.STREAM_UNARY)
    async with stream:
        for number in range(50):
            await stream.send_message(wrapped(b"a" * 1000), end=number == 49)
        assert await stream.recv_message() == wrapped(b"a" * 50_000)
    stream = call(channel, "StreamStream", Cardinality.STREAM_STREAM)
    async with stream:
        for number in range(50):
            message = wrapped(b"a" * number * 100)
            await stream.send_message(message, end=number == 49)
            assert await stream.recv_message() == message
        assert await stream.recv_message() is None


async def check_metadata(channel: TransportChannel) -> None:
    metadata = MultiDict(METADATA)
    stream = call(channel, "UnaryUnary", Cardinality.UNARY_UNARY, metadata=metadata)
    async with stream:
        await stream.send_message(b"")
        assert await stream.recv_message() == b""
        await stream.recv_trailing_metadata()
        for got in (stream.initial_metadata, stream.trailing_metadata):
            assert [item for item in got.items() if item[0].startswith("x-")] == [*METADATA]


async def check_ends(channel: TransportChannel) -> None:
    """A failure without a message, a method that is not there, a deadline, and a cancellation."""
    with pytest.raises(GRPCError, match="no, é") as error:
        await unary(channel, b"", path="/wire.Shapes/Fail")
    assert error.value.status is Status.ABORTED
    with pytest.raises(GRPCError) as error:
        await unary(channel, b"", path="/wire.Shapes/None")
    assert error.value.status is Status.UNIMPLEMENTED
    # The server's clock may be the first.
    with pytest.raises((TimeoutError, GRPCError)) as late:
        await unary(channel, b"", path="/wire.Shapes/Wait", timeout=0.3)
    if isinstance(late.value, GRPCError):
        assert late.value.status is Status.DEADLINE_EXCEEDED
    stream = call(channel, "StreamStream", Cardinality.STREAM_STREAM)
    async with stream:
        await stream.send_message(wrapped(b"a"))
        assert await stream.recv_message() == wrapped(b"a")
        await stream.cancel()
    assert await unary(channel, b"", path="/wire.Shapes/UnaryUnary") == b""


def call(channel: TransportChannel, name: str, cardinality: Cardinality, **options: Any) -> Any:
    return channel.request(f"/wire.Shapes/{name}", cardinality, bytes, bytes, **options)
