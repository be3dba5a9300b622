"""/wire.Shapes by grpcio, a program of its own: its client, or its server.

``client TARGET JSON`` calls whatever serves there, with the channel's options and the sizes to
send, and prints JSON, by which a test knows that all came back. ``server JSON`` serves on a free
port of the loopback, prints its address, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Iterable, Iterator
from concurrent import futures
from typing import Any

import grpc
import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

TIMES = 50
UNLIMITED = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1}
METADATA = (("x-text", "a b"), ("x-some-bin", bytes(range(256))), ("x-some-bin", b""))


def same(message: bytes) -> bytes:
    return message


def wrapped(value: bytes) -> bytes:
    return BytesValue(value=value).SerializeToString()


def arguments(options: dict[str, Any]) -> list[tuple[str, Any]]:
    return [*UNLIMITED.items(), *options.items()]


class Client:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def unary(self, name: str, message: bytes = b"", **options: Any) -> Any:
        call: Any = self._channel.unary_unary(f"/wire.Shapes/{name}", same, same)
        return call(message, **options)

    def chat(self) -> Any:
        call: Any = self._channel.stream_stream("/wire.Shapes/StreamStream", same, same)
        return call()

    async def check_sizes(self, sizes: list[int]) -> int:
        for size in sizes:
            message = wrapped(b"a" * size)
            assert await self.unary("UnaryUnary", message) == message, size
        return len(sizes)

    async def check_many(self) -> int:
        messages = [wrapped(str(number).encode()) for number in range(200)]
        calls = [self.unary("UnaryUnary", message) for message in messages]
        return sum([await call == message for call, message in zip(calls, messages, strict=True)])

    async def check_server_stream(self) -> int:
        call: Any = self._channel.unary_stream("/wire.Shapes/UnaryStream", same, same)
        message = wrapped(b"a" * 5000)
        return sum([answer == message async for answer in call(message)])

    async def check_client_stream(self) -> int:
        call: Any = self._channel.stream_unary("/wire.Shapes/StreamUnary", same, same)
        assert await call(iter([wrapped(b"a" * 1000)] * 50)) == wrapped(b"a" * 50_000)
        return 50

    async def check_chat(self) -> int:
        call = self.chat()
        for count in range(50):
            message = wrapped(b"a" * count * 100)
            await call.write(message)
            assert await call.read() == message
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        return 50

    async def check_metadata(self) -> bool:
        call = self.unary("UnaryUnary", metadata=METADATA)
        both = await call.initial_metadata(), await call.trailing_metadata()
        return all([item for item in each if item[0][:2] == "x-"] == [*METADATA] for each in both)

    async def check_cancel(self) -> str:
        call = self.chat()
        await call.write(wrapped(b"a"))
        await call.read()
        call.cancel()
        code: str = (await call.code()).name
        return code


async def outcome(call: Awaitable[bytes]) -> tuple[str, str]:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


async def run_client(target: str, options: dict[str, Any], sizes: list[int]) -> None:
    async with grpc.aio.insecure_channel(target, options=arguments(options)) as channel:
        client = Client(channel)
        answer = {
            "sizes": await client.check_sizes(sizes),
            "many": await client.check_many(),
            "serverStream": await client.check_server_stream(),
            "clientStream": await client.check_client_stream(),
            "chat": await client.check_chat(),
            "metadata": await client.check_metadata(),
            "cancelled": await client.check_cancel(),
            "late": (await outcome(client.unary("Wait", timeout=0.3)))[0],
            "failure": await outcome(client.unary("Fail")),
            "unknown": (await outcome(client.unary("None")))[0],
            "tooLarge": (await outcome(client.unary("UnaryUnary", bytes(33 << 20))))[0],
            "tooLong": (
                await outcome(client.unary("UnaryUnary", metadata=(("long", "x" * 20_000),)))
            )[0],
            "still": await client.check_many(),
        }
    print(json.dumps(answer))


# The server.


def own(context: grpc.ServicerContext) -> tuple[Any, ...]:
    """Return a call's own metadata, which it gets back at the beginning and at the end."""
    return tuple(item for item in context.invocation_metadata() if item[0].startswith("x-"))


def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.send_initial_metadata(own(context))
    context.set_trailing_metadata(own(context))
    return request


def repeat(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    return iter([request] * TIMES)


def join(requests: Iterable[bytes], context: grpc.ServicerContext) -> bytes:
    return wrapped(b"".join(BytesValue.FromString(request).value for request in requests))


def chat(requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    yield from requests


def wait(requests: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    for _ in requests:
        pass
    gone = futures.Future[None]()
    context.add_callback(lambda: gone.set_result(None))
    gone.result()
    yield b""


def fail(request: bytes, context: grpc.ServicerContext) -> bytes:
    context.abort(grpc.StatusCode.ABORTED, "no, é")
    raise AssertionError


def run_server(options: dict[str, Any]) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8), options=arguments(options))
    handlers = {
        "UnaryUnary": grpc.unary_unary_rpc_method_handler(unary, same, same),
        "UnaryStream": grpc.unary_stream_rpc_method_handler(repeat, same, same),
        "StreamUnary": grpc.stream_unary_rpc_method_handler(join, same, same),
        "StreamStream": grpc.stream_stream_rpc_method_handler(chat, same, same),
        "Wait": grpc.stream_stream_rpc_method_handler(wait, same, same),
        "Fail": grpc.unary_unary_rpc_method_handler(fail, same, same),
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("wire.Shapes", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


def main(role: str, *rest: str) -> None:
    if role == "client":
        target, options = rest
        asyncio.run(run_client(target, **json.loads(options)))
    else:
        run_server(json.loads(rest[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
