"""grpcio as the peer, in both roles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError

from blazerpc_client.transport.limits import Limits
from tests.unit.blazerpc_client.transport.servers import (
    channel_to,
    echo,
    serving,
    stream_of,
    unary,
)

UNLIMITED = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]
BIG = Limits(max_receive_message=1 << 26)
SMALL = Limits(max_receive_message=1 << 26, stream_window=1000, connection_window=65535)
SIZES = [0, 1, 16384, 70_000, 5_000_000]


def same(message: bytes) -> bytes:
    return message


@asynccontextmanager
async def grpcio_client(port: int, *options: tuple[str, Any]) -> AsyncIterator[grpc.aio.Channel]:
    target = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(target, options=[*UNLIMITED, *options]) as channel:
        yield channel


@asynccontextmanager
async def grpcio_server() -> AsyncIterator[int]:
    async def unary(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    async def stream(
        requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    async def fail(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        await context.abort(grpc.StatusCode.ABORTED, "no")
        raise AssertionError

    handlers = {
        "UU": grpc.unary_unary_rpc_method_handler(unary, same, same),
        "SS": grpc.stream_stream_rpc_method_handler(stream, same, same),
        "Fail": grpc.unary_unary_rpc_method_handler(fail, same, same),
    }
    server = grpc.aio.server(options=UNLIMITED, compression=grpc.Compression.Gzip)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("t.T", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@pytest.mark.parametrize("limits", [BIG, SMALL], ids=["usual windows", "small windows"])
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_grpcio_calls_our_server(limits: Limits, compression: grpc.Compression) -> None:
    async with serving(echo, limits, "gzip") as server, grpcio_client(server.port) as channel:
        call: Any = channel.unary_unary("/t.T/UU", same, same)
        for size in SIZES:
            assert await call(bytes(size), compression=compression, timeout=10) == bytes(size)
        answers = [call(str(number).encode()) for number in range(200)]
        assert [await answer for answer in answers] == [str(n).encode() for n in range(200)]
        stream: Any = channel.stream_stream("/t.T/SS", same, same)
        messages = [bytes([number]) * number * 100 for number in range(50)]
        assert [m async for m in stream(iter(messages))] == messages


async def test_grpcio_is_told_what_is_wrong() -> None:
    async def fail(call: Any) -> None:
        await call.recv_message()
        raise GRPCError(Status.ABORTED, "no, é")

    limits = Limits(max_receive_message=10)
    async with serving(fail, limits) as server, grpcio_client(server.port) as channel:
        call: Any = channel.unary_unary("/t.T/UU", same, same)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"")
        assert (error.value.code(), error.value.details()) == (
            grpc.StatusCode.ABORTED,
            "no, é",
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(bytes(100_000))
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(b"", metadata=[("long", "x" * 20_000)])
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        unknown: Any = channel.unary_unary("/t.T/None", same, same)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await unknown(b"")
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_grpcio_goes_on_through_a_drain() -> None:
    async with serving(echo) as server, grpcio_client(server.port) as channel:
        call: Any = channel.unary_unary("/t.T/UU", same, same)

        async def work() -> None:
            for number in range(200):
                message = str(number).encode()
                assert await call(message) == message

        workers = [asyncio.create_task(work()) for _ in range(4)]
        for _ in range(5):
            await asyncio.sleep(0.02)
            server.protocols[-1].drain()
        await asyncio.gather(*workers)
        assert len(server.protocols) > 1


@pytest.mark.parametrize("limits", [BIG, SMALL], ids=["usual windows", "small windows"])
async def test_we_call_a_grpcio_server(limits: Limits) -> None:
    async with grpcio_server() as port, channel_to(port, limits) as channel:
        for size in SIZES:
            assert await unary(channel, bytes(size), timeout=10) == bytes(size)
        calls = [unary(channel, str(number).encode()) for number in range(200)]
        assert await asyncio.gather(*calls) == [str(n).encode() for n in range(200)]
        call = channel.request("/t.T/SS", Cardinality.STREAM_STREAM, bytes, bytes)
        async with call:
            for number in range(50):
                await call.send_message(bytes(number * 100), end=number == 49)
                assert await call.recv_message() == bytes(number * 100)
            assert ("grpc-encoding", "gzip") in (stream_of(call).headers or ())
        with pytest.raises(GRPCError, match="no") as error:
            await unary(channel, b"", path="/t.T/Fail")
        assert error.value.status is Status.ABORTED
