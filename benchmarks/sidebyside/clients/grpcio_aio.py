"""grpcio's asyncio client, as its generated code makes it."""

from __future__ import annotations

from typing import Any

import blaze_service_pb2 as messages
import grpc.aio
import uvloop

from benchmarks.sidebyside.clients.pace import arguments, pace


async def main() -> None:
    """Call as the command line says."""
    args = arguments().parse_args()
    async with grpc.aio.insecure_channel(args.target) as channel:
        echo: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            "/blazerpc.InferenceService/PredictEcho",
            request_serializer=messages.EchoRequest.SerializeToString,
            response_deserializer=messages.EchoResponse.FromString,
        )

        async def call() -> object:
            return (await echo(messages.EchoRequest(value="0123456789"))).result

        await pace([call], args.concurrency, args.seconds)


if __name__ == "__main__":
    uvloop.run(main())
