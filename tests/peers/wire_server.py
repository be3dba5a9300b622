"""tests.apps.wire with limits of a test's own, and an rpc of each kind.

A program of its own, started as ``blaze serve`` is: ``serve APP --port 0 [--limits JSON]
[--compression gzip]``. Prints its address once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from google.protobuf.wrappers_pb2 import BytesValue
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from blazerpc.cli.load import load_app
from blazerpc.codegen.servicer import InferenceServicer
from blazerpc.server import GRPCServer
from blazerpc_client.transport.limits import Limits, Pace

Call = Stream[BytesValue, BytesValue]

#: How often the one message of a server stream comes.
TIMES = 50


class Shapes:
    """Gives messages back; a unary answer to many requests is all of them, joined.

    Metadata that begins with ``x-`` is given back, too, at the beginning and at the end.
    """

    async def one(self, call: Call) -> None:
        async with returning(call):
            joined = b"".join([message.value async for message in call])
            await call.send_message(BytesValue(value=joined))

    async def repeat(self, call: Call) -> None:
        message = await call.recv_message()
        assert message is not None
        for _ in range(TIMES):
            await call.send_message(message)

    async def many(self, call: Call) -> None:
        async with returning(call):
            async for message in call:
                await call.send_message(message)

    async def wait(self, call: Call) -> None:
        await asyncio.Event().wait()

    async def fail(self, call: Call) -> None:
        raise GRPCError(Status.ABORTED, "no, é")

    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/wire.Shapes/UnaryUnary": self._handler(self.one, Cardinality.UNARY_UNARY),
            "/wire.Shapes/UnaryStream": self._handler(self.repeat, Cardinality.UNARY_STREAM),
            "/wire.Shapes/StreamUnary": self._handler(self.one, Cardinality.STREAM_UNARY),
            "/wire.Shapes/StreamStream": self._handler(self.many, Cardinality.STREAM_STREAM),
            "/wire.Shapes/Wait": self._handler(self.wait, Cardinality.STREAM_STREAM),
            "/wire.Shapes/Fail": self._handler(self.fail, Cardinality.UNARY_UNARY),
        }

    @staticmethod
    def _handler(function: Any, cardinality: Cardinality) -> Handler:
        return Handler(function, cardinality, BytesValue, BytesValue)


@asynccontextmanager
async def returning(call: Call) -> AsyncIterator[None]:
    """Give a call's own metadata back, if it has any."""
    assert call.metadata is not None
    metadata = [(key, value) for key, value in call.metadata.items() if key.startswith("x-")]
    if metadata:
        await call.send_initial_metadata(metadata=metadata)
    yield
    if metadata:
        await call.send_trailing_metadata(metadata=metadata)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("app")
    parser.add_argument("--port", type=int)
    parser.add_argument("--limits", type=json.loads, default={})
    parser.add_argument("--compression", choices=["gzip"])
    options = parser.parse_args()
    limits: dict[str, Any] = {
        name: Pace(*value) if isinstance(value, list) else value
        for name, value in options.limits.items()
    }
    servicer = InferenceServicer(load_app(options.app).registry)
    server = GRPCServer(
        [servicer, Shapes()],
        http="blaze",
        limits=Limits(**limits),
        compression=options.compression,
    )
    await server.listen("127.0.0.1", options.port)
    print(f"Serving on 127.0.0.1:{server.port}", flush=True)
    await server.wait()


if __name__ == "__main__":
    uvloop.run(main())
