"""tests.apps.wire with limits of a test's own, and an rpc of each kind.

A program of its own, started as ``blaze serve`` is: ``serve APP --port 0 [--limits JSON]``. Prints
its address once it listens.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import uvloop
from google.protobuf.wrappers_pb2 import BytesValue
from grpclib.const import Cardinality, Handler
from grpclib.server import Stream

from blazerpc.cli.load import load_app
from blazerpc.codegen.servicer import InferenceServicer
from blazerpc.server import GRPCServer
from blazerpc_client.transport.limits import Limits, Pace

Call = Stream[BytesValue, BytesValue]


class Shapes:
    """Gives messages back; a unary answer to many requests is all of them, joined."""

    async def one(self, call: Call) -> None:
        joined = b"".join([message.value async for message in call])
        await call.send_message(BytesValue(value=joined))

    async def many(self, call: Call) -> None:
        async for message in call:
            await call.send_message(message)

    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/wire.Shapes/UnaryUnary": self._handler(self.one, Cardinality.UNARY_UNARY),
            "/wire.Shapes/UnaryStream": self._handler(self.many, Cardinality.UNARY_STREAM),
            "/wire.Shapes/StreamUnary": self._handler(self.one, Cardinality.STREAM_UNARY),
            "/wire.Shapes/StreamStream": self._handler(self.many, Cardinality.STREAM_STREAM),
        }

    @staticmethod
    def _handler(function: Any, cardinality: Cardinality) -> Handler:
        return Handler(function, cardinality, BytesValue, BytesValue)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("app")
    parser.add_argument("--port", type=int)
    parser.add_argument("--limits", type=json.loads, default={})
    options = parser.parse_args()
    limits: dict[str, Any] = {
        name: Pace(*value) if isinstance(value, list) else value
        for name, value in options.limits.items()
    }
    servicer = InferenceServicer(load_app(options.app).registry)
    server = GRPCServer([servicer, Shapes()], limits=Limits(**limits))
    await server.listen("127.0.0.1", options.port)
    print(f"Serving on 127.0.0.1:{server.port}", flush=True)
    await server.wait()


if __name__ == "__main__":
    uvloop.run(main())
