"""Load for a server where h2load is missing: bytes there and back, by grpcio's asyncio client."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import grpc.aio
import uvloop

from benchmarks.sidebyside.clients.pace import Call, arguments, pace

#: Connections are not shared, and answers may be large.
OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
]


async def main() -> None:
    """Call as the command line says."""
    parser = arguments()
    parser.add_argument("--path", required=True, help="of the rpc")
    parser.add_argument("--request", type=Path, required=True, help="file of the message")
    parser.add_argument("--connections", type=int, required=True)
    args = parser.parse_args()
    request = args.request.read_bytes()
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(args.target, options=OPTIONS))
            for _ in range(args.connections)
        ]
        calls = [_call(channel, args.path, request) for channel in channels]
        await pace(calls, args.concurrency, args.seconds)


def _call(channel: grpc.aio.Channel, path: str, request: bytes) -> Call:
    # To the client one answer is a stream of one.
    stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)

    async def call() -> None:
        async for _ in stream(request):
            pass

    return call


if __name__ == "__main__":
    uvloop.run(main())
