"""``blaze serve --workers``: calls a second of one process and of two, of a model that computes.

Both servers run all the time, and are called in turns; the client takes its share of the same
cores. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from contextlib import AsyncExitStack, ExitStack
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.echo import Effort
from benchmarks.processes import served
from blazerpc import BlazeApp, BlazeClient

#: Turns of a loop in Python: some 10 ms, in which nothing else of its process runs.
COST: Final = 250_000

#: Each has one call under way. Enough that a few are sure to reach every worker.
CONNECTIONS: Final = 16

WORKERS: Final = (1, 2)
QUICK: Final = Effort(rounds=1, seconds=0.3)
FULL: Final = Effort(rounds=5, seconds=2.0)

app = BlazeApp("work")


@app.model("work")
def work(cost: int) -> int:
    """Compute, and hold the interpreter's lock meanwhile."""
    total = 0
    for number in range(cost):
        total += number & 3
    return total


def main() -> None:
    """Measure, and print calls a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.workers")
    parser.add_argument("--quick", action="store_true", help="few calls: a check that all works")
    effort = QUICK if parser.parse_args().quick else FULL
    serve = ["blazerpc.cli", "serve", "benchmarks.workers:app", "--port", "0", "--workers"]
    with ExitStack() as stack:
        targets = {n: stack.enter_context(served([*serve, str(n)])) for n in WORKERS}
        rates = asyncio.run(compare(targets, effort))
    start = time.perf_counter()
    work(COST)
    cost = time.perf_counter() - start
    table = Table("workers", "calls/s", "ratio", title=f"{cost * 1000:.1f} ms of work a call")
    for workers, rate in rates.items():
        table.add_row(str(workers), f"{rate:,.0f}", f"{rate / rates[1]:.2f}")
    Console().print(table)
    Console().print(f"{CONNECTIONS} connections; {os.cpu_count()} cores, the client on the same.")


async def compare(targets: dict[int, str], effort: Effort) -> dict[int, float]:
    """Return the calls a second with each number of workers."""
    rates: dict[int, list[float]] = {workers: [] for workers in targets}
    for _ in range(effort.rounds):
        for workers, target in targets.items():
            rates[workers].append(await measured(target, effort.seconds))
    return {workers: statistics.median(values) for workers, values in rates.items()}


async def measured(target: str, seconds: float) -> float:
    """Return the calls a second over many connections, each of them with one call at a time."""
    host, _, port = target.rpartition(":")
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(BlazeClient(host, int(port), app.registry))
            for _ in range(CONNECTIONS)
        ]
        await asyncio.gather(*(client.predict("work", cost=1) for client in clients))
        start = time.perf_counter()

        async def calls(client: BlazeClient) -> int:
            count = 0
            while time.perf_counter() - start < seconds:
                await client.predict("work", cost=COST)
                count += 1
            return count

        total = sum(await asyncio.gather(*map(calls, clients)))
        return total / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
