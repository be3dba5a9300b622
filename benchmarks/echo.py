"""Unary echo calls: BlazeRPC beside grpcio.aio, on one machine, in one run.

Each server is a process of its own. Both clients call both servers, in turns, so that a row
compares servers under one client, or clients at one server; what another program does meanwhile
hits all of them alike. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import reference
from benchmarks.processes import served
from blazerpc.codegen.schema import SERVICE_NAME
from blazerpc_client import BlazeClient

#: Makes one call.
Call = Callable[[], Awaitable[object]]

SERVERS: Final = {
    "BlazeRPC": ["blazerpc.cli", "serve", "benchmarks.app:app", "--port", "0", "--no-access-log"],
    "grpcio.aio": ["benchmarks.reference"],
}
#: A text, or the number of elements of a float32 array.
PAYLOADS: Final[dict[str, str | int]] = {
    "text, 10 B": "0123456789",
    "tensor, 4 KiB": 1 << 10,
    "tensor, 1 MiB": 1 << 18,
}
CONCURRENCIES: Final = (1, 64)


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, and seconds of each."""

    rounds: int
    seconds: float


QUICK: Final = Effort(rounds=1, seconds=0.1)
FULL: Final = Effort(rounds=5, seconds=0.8)


def main() -> None:
    """Measure, and print calls a second and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.echo")
    parser.add_argument("--quick", action="store_true", help="few calls: a check that all works")
    effort = QUICK if parser.parse_args().quick else FULL
    with ExitStack() as stack:
        targets = {name: stack.enter_context(served(args)) for name, args in SERVERS.items()}
        asyncio.run(report(targets, effort))


async def report(targets: dict[str, str], effort: Effort) -> None:
    """Print one row for each payload and concurrency."""
    table = Table("payload", "concurrency")
    pairs = [(server, client) for client in CLIENTS for server in targets]
    for server, client in pairs:
        table.add_column(f"{server} server\n{client} client\ncalls/s", justify="right")
    table.add_column("server\nratio", justify="right")
    table.add_column("client\nratio", justify="right")
    table.add_column("both\nratio", justify="right")
    for payload, value in PAYLOADS.items():
        for concurrency in CONCURRENCIES:
            rates = await compare(targets, pairs, value, concurrency, effort)
            ours, plain = "BlazeRPC", "grpcio.aio"
            ratios = (
                rates[ours, plain] / rates[plain, plain],
                rates[plain, ours] / rates[plain, plain],
                rates[ours, ours] / rates[plain, plain],
            )
            cells = [f"{rates[pair]:,.0f}" for pair in pairs]
            table.add_row(payload, str(concurrency), *cells, *(f"{ratio:.2f}" for ratio in ratios))
    console = Console()
    console.width = max(console.width, 110)
    console.print(table)
    console.print(
        "Ratios are BlazeRPC's calls/s by grpcio.aio's: its server under grpcio's client, its "
        "client at grpcio's server, both together. Servers and client share the machine's cores; "
        "only ratios of one run mean something."
    )


async def compare(
    targets: dict[str, str],
    pairs: list[tuple[str, str]],
    value: str | int,
    concurrency: int,
    effort: Effort,
) -> dict[tuple[str, str], float]:
    """Return the calls a second of each pair of server and client, measured in turns."""
    rates: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    for _ in range(effort.rounds):
        for server, client in pairs:
            rates[server, client].append(
                await CLIENTS[client](targets[server], value, concurrency, effort.seconds)
            )
    return {pair: statistics.median(values) for pair, values in rates.items()}


async def blazerpc_client(target: str, value: str | int, concurrency: int, seconds: float) -> float:
    """Return the calls a second of BlazeRPC's client."""
    host, _, port = target.rpartition(":")
    argument = np.zeros(value, np.float32) if isinstance(value, int) else value
    model = "tensor" if isinstance(value, int) else "text"
    async with BlazeClient(host, int(port), schema=reference.SCHEMA) as client:
        return await rate(lambda: client.predict(model, value=argument), concurrency, seconds)


async def grpcio_client(target: str, value: str | int, concurrency: int, seconds: float) -> float:
    """Return the calls a second of grpcio.aio's client, arrays made and unmade by hand."""
    unlimited = [
        ("grpc.max_receive_message_length", -1),
        # Each round has a connection of its own, as BlazeRPC's client has.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    async with grpc.aio.insecure_channel(target, options=unlimited) as channel:
        name = "Tensor" if isinstance(value, int) else "Text"
        call: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
            f"/{SERVICE_NAME}/Predict{name}",
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=reference.message(f"{name}Response").FromString,
        )

        async def tensor() -> object:
            request = reference.TensorRequest()
            reference.pack(request.value, np.zeros(value, np.float32))
            return reference.unpack((await call(request)).result)

        async def text() -> object:
            return (await call(reference.TextRequest(value=value))).result

        return await rate(tensor if isinstance(value, int) else text, concurrency, seconds)


CLIENTS: Final = {"grpcio.aio": grpcio_client, "BlazeRPC": blazerpc_client}


async def rate(call: Call, concurrency: int, seconds: float) -> float:
    """Return how many calls a second end, with ``concurrency`` of them under way."""
    await call()  # connects
    start = time.perf_counter()

    async def work() -> int:
        calls = 0
        while time.perf_counter() - start < seconds:
            await call()
            calls += 1
        return calls

    total = sum(await asyncio.gather(*(work() for _ in range(concurrency))))
    return total / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
