"""betterproto's client on grpclib, as its compiler writes it."""

from __future__ import annotations

from dataclasses import dataclass

import betterproto
import uvloop
from grpclib.client import Channel

from benchmarks.sidebyside.clients.pace import arguments, pace


@dataclass(eq=False, repr=False)
class EchoRequest(betterproto.Message):  # type: ignore[misc]  # has no types where mypy runs
    """The request of ``PredictEcho``."""

    value: str = betterproto.string_field(1)


@dataclass(eq=False, repr=False)
class EchoResponse(betterproto.Message):  # type: ignore[misc]  # likewise
    """The response of ``PredictEcho``."""

    result: str = betterproto.string_field(1)


class Client(betterproto.ServiceStub):  # type: ignore[misc]  # likewise
    """The service."""

    async def predict_echo(self, request: EchoRequest) -> EchoResponse:
        """Give back a text."""
        response: EchoResponse = await self._unary_unary(
            "/blazerpc.InferenceService/PredictEcho", request, EchoResponse
        )
        return response


async def main() -> None:
    """Call as the command line says."""
    args = arguments().parse_args()
    host, _, port = args.target.rpartition(":")
    async with Channel(host, int(port)) as channel:
        client = Client(channel)

        async def call() -> object:
            return (await client.predict_echo(EchoRequest(value="0123456789"))).result

        await pace([call], args.concurrency, args.seconds)


if __name__ == "__main__":
    uvloop.run(main())
