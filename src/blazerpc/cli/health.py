"""``blaze health``: whether a server takes calls.

It runs every few seconds beside a server, so it imports little: argparse, since Typer with what it
imports would take as long as everything else here.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import Message
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from blazerpc.cli.text import mended, one_line
from blazerpc.cli.tls import client_tls
from blazerpc_client.channel import Channel
from blazerpc_client.errors import NotFound, RpcError, Unavailable, Unimplemented
from blazerpc_client.options import CallOptions
from blazerpc_client.tls import TLS

SERVING: Final = "SERVING"

#: What the command says of itself.
SUMMARY: Final = "Tell if a server takes calls: exit code 0 when it says SERVING, else 1."


_FILES: Final = {
    "ca": "PEM file of the authorities to trust; default: the system's",
    "cert": "PEM file of your own certificate; --key goes with it",
    "key": "PEM file of its private key",
}


class _Check:
    """The rpc: https://github.com/grpc/grpc/blob/master/doc/health-checking.md."""

    path = "/grpc.health.v1.Health/Check"
    idempotent = False  # who asks for health wants to know of a failure
    request_class: type[Message] = HealthCheckRequest
    response_class: type[Message] = HealthCheckResponse


async def health_of(channel: Channel, name: str, options: CallOptions) -> str:
    """Return the status of a service or a model; of the whole server when ``name`` is empty.

    Returns:
        ``SERVING``, ``NOT_SERVING`` or ``UNKNOWN``.

    Raises:
        NotFound: when the server knows nothing of that name.
        Unimplemented: when it has no health service.
        RpcError: when it cannot be asked.
    """
    response = await channel.unary(_Check(), HealthCheckRequest(service=name), options)
    assert isinstance(response, HealthCheckResponse)
    value = HealthCheckResponse.DESCRIPTOR.enum_types_by_name["ServingStatus"].values_by_number
    return value[response.status].name if response.status in value else str(response.status)


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code, after one line on stdout, or on stderr if it failed.

    Raises:
        SystemExit: after ``--help``, and with code 2 when the command is called wrongly.
    """
    options = _parser().parse_args(arguments)
    try:
        tls = client_tls(options.tls, options.ca, options.cert, options.key, options.server_name)
        status = asyncio.run(_ask(options.target, tls, options.service, options.timeout))
    except Unavailable as error:
        return _failed(mended(error))
    except NotFound:
        return _failed(f"{options.target} knows no health of {options.service!r}")
    except Unimplemented:
        return _failed(f"{options.target} has no health service (grpc.health.v1)")
    except RpcError as error:
        return _failed(error.message)
    sys.stdout.write(f"{status}\n")
    return 0 if status == SERVING else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="blaze health", description=SUMMARY)
    parser.add_argument(
        "target", metavar="HOST:PORT", help="address of a running server; or unix:PATH"
    )
    parser.add_argument(
        "--service",
        metavar="NAME",
        default="",
        help="full name of a service, or a model like digits or digits:2; default: the server",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=5.0,
        help="that the check may take; default: %(default)s",
    )
    parser.add_argument("--tls", action="store_true", help="use TLS; implied by those below")
    for name, text in _FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", type=Path, help=text)
    parser.add_argument(
        "--server-name",
        metavar="NAME",
        help="that the server's certificate must be for; default: that of HOST",
    )
    return parser


async def _ask(target: str, tls: TLS, name: str, seconds: float) -> str:
    channel = Channel(target, tls=tls)
    try:
        return await health_of(channel, name, CallOptions(timeout=seconds))
    finally:
        channel.close()


def _failed(message: str) -> int:
    sys.stderr.write(f"error: {one_line(message)}\n")
    return 1
