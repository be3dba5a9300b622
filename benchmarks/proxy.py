"""What a proxy between a client and a server costs: nginx, beside calls that go straight.

The same server is called both ways in turns, on one connection. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.app import app
from benchmarks.echo import Effort
from benchmarks.nginx import proxied
from benchmarks.processes import started
from benchmarks.sidebyside.process_stats import cpu_seconds
from blazerpc import BlazeClient

#: Model and argument of each kind of call.
PAYLOADS: Final[Mapping[str, tuple[str, object]]] = {
    "text, 10 B": ("text", "0123456789"),
    "tensor, 600 KB": ("tensor", np.zeros(150_000, np.float32)),
}

#: Calls under way at one time.
CALLERS: Final = (1, 64)

WAYS: Final = ("straight", "by nginx")
QUICK: Final = Effort(rounds=1, seconds=0.2)
FULL: Final = Effort(rounds=5, seconds=2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of calls of one kind.

    Attributes:
        rate: calls a second.
        p50: milliseconds.
        cost: microseconds of CPU time a call, of the server and what is before it.
    """

    rate: float
    p50: float
    cost: float


def main() -> None:
    """Measure, and print both ways side by side."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.proxy")
    parser.add_argument("--quick", action="store_true", help="few calls: a check that all works")
    effort = QUICK if parser.parse_args().quick else FULL
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        sys.exit("error: there is no nginx; on Debian: apt-get install nginx-light")
    serve = ["-u", "-m", "blazerpc.cli", "serve", "benchmarks.app:app", "--port", "0"]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(started([sys.executable, *serve, "--no-access-log"]))
        proxy = stack.enter_context(proxied(nginx, server.target, directory, keepalive=64))
        targets = dict(zip(WAYS, (server.target, proxy.target), strict=True))
        groups = {WAYS[0]: [server.pid], WAYS[1]: [server.pid, proxy.pid]}
        for payload in PAYLOADS:
            Console().print(asyncio.run(_compared(payload, targets, groups, effort)))
    Console().print(f"{os.cpu_count()} cores for the server, nginx and the client.")


async def _compared(
    payload: str, targets: Mapping[str, str], groups: Mapping[str, list[int]], effort: Effort
) -> Table:
    table = Table(title=payload)
    for column in ("callers", "", "calls/s", "p50 ms", "µs of CPU a call"):
        table.add_column(column, justify="right")
    for callers in CALLERS:
        found: dict[str, list[Figures]] = {way: [] for way in WAYS}
        for _ in range(effort.rounds):
            for way in WAYS:
                measured = await _measured(targets[way], groups[way], payload, callers, effort)
                found[way].append(measured)
        for way, rounds in found.items():
            table.add_row(
                str(callers),
                way,
                f"{statistics.median(each.rate for each in rounds):,.0f}",
                f"{statistics.median(each.p50 for each in rounds):.2f}",
                f"{statistics.median(each.cost for each in rounds):,.0f}",
            )
    return table


async def _measured(
    target: str, groups: list[int], payload: str, callers: int, effort: Effort
) -> Figures:
    """Call for a while, so many at one time."""
    model, value = PAYLOADS[payload]
    host, _, port = target.rpartition(":")
    times: list[float] = []
    async with BlazeClient(host, int(port), app.registry) as client:
        await client.predict(model, value=value)
        start, cpu = time.perf_counter(), sum(map(cpu_seconds, groups))

        async def caller() -> None:
            while (begun := time.perf_counter()) - start < effort.seconds:
                await client.predict(model, value=value)
                times.append(time.perf_counter() - begun)

        await asyncio.gather(*(caller() for _ in range(callers)))
        took = time.perf_counter() - start
        spent = sum(map(cpu_seconds, groups)) - cpu
    return Figures(
        rate=len(times) / took,
        p50=1000 * statistics.median(times),
        cost=1e6 * spent / len(times),
    )


if __name__ == "__main__":
    main()
