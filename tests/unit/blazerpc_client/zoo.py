"""A service that says in its metadata what it was called with, and what is to come of it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler, Status
from grpclib.server import Stream
from zoo_client import ZooV1Animal
from zoo_client.messages import SCHEMA

from blazerpc_client import UnaryMethod
from tests.unit.blazerpc_client.servers import serving_handlers

Call = Stream[Message, Message]

#: A call that hangs fails, and says so.
TIMEOUT = 5.0


class Zoo:
    """Says of each animal that it answers with: who it is in the metadata, and what is ``said``."""

    def __init__(self, **said: str) -> None:
        self.said = {f"blaze-{key.replace('_', '-')}": value for key, value in said.items()}

    async def one(self, stream: Call) -> None:
        animal: Any = await stream.recv_message()
        await self.begin(stream, animal)
        await asyncio.sleep(0)  # the calls of a test overlap
        await stream.send_message(animal)
        await self.end(stream, animal)

    async def joined(self, stream: Call) -> None:
        animals = [animal async for animal in stream]
        await self.begin(stream, animals[0])
        await stream.send_message(METHODS["ImportAll"].response_class(str=animals))
        await self.end(stream, animals[-1])

    async def several(self, stream: Call) -> None:
        request: Any = await stream.recv_message()
        await self.begin(stream, request.str[0])
        for animal in request.str:
            await stream.send_message(animal)
        await self.end(stream, animal)

    async def each(self, stream: Call) -> None:
        await self.begin(stream, None)
        animal = None
        async for animal in stream:
            await stream.send_message(animal)
            if name(animal) == "enough":
                break
        await self.end(stream, animal)

    async def begin(self, stream: Call, animal: Any) -> None:
        await stream.send_initial_metadata(metadata={"x-first": name(animal)})

    async def end(self, stream: Call, animal: Any) -> None:
        last = name(animal)
        metadata: dict[str, str | bytes] = {"x-last": last, "x-last-bin": last.encode()}
        failed = last == "fail"
        await stream.send_trailing_metadata(
            status=Status.ABORTED if failed else Status.OK,
            status_message="it failed" if failed else None,
            metadata={**metadata, **self.said},
        )

    def __mapping__(self) -> dict[str, Handler]:
        functions = {
            "Import": (self.one, Cardinality.UNARY_UNARY),
            "ImportAll": (self.joined, Cardinality.STREAM_UNARY),
            "Export": (self.several, Cardinality.UNARY_STREAM),
            "Chat": (self.each, Cardinality.STREAM_STREAM),
        }
        return {
            METHODS[rpc].path: Handler(
                function, cardinality, METHODS[rpc].request_class, METHODS[rpc].response_class
            )
            for rpc, (function, cardinality) in functions.items()
        }


METHODS = {
    rpc: UnaryMethod[object](SCHEMA, f"zoo.v1.ZooService.{rpc}")
    for rpc in ("Import", "ImportAll", "Export", "Chat")
}


def name(animal: Any) -> str:
    return getattr(animal, "from", "") or "nobody"


def animal(name: str) -> ZooV1Animal:
    return ZooV1Animal(from_=name)


def serving_zoo() -> AbstractAsyncContextManager[str]:
    """Serve a zoo; give its address."""
    return serving_handlers(Zoo(queue_ms="1.5", compute_ms="20", batch_size="7"))


def whole(first: str, last: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return the metadata of such a call of what ``serving_zoo`` serves."""
    said = {"blaze-queue-ms": "1.5", "blaze-compute-ms": "20", "blaze-batch-size": "7"}
    return {"x-first": first}, {"x-last": last, "x-last-bin": last.encode(), **said}


def metadata(response: Any) -> tuple[dict[str, object], dict[str, object]]:
    return dict(response.initial_metadata), dict(response.trailing_metadata)
