"""How many processes a load takes: measured, simulated, compared, and then simulated for more.

A server of one process has a core, its load another one. Rounds measure a model's times by batch
size, and then calls at three loads, each of which comes at random; the simulation is given the
round's times, and the loads. All figures are medians of the rounds. A model that computes says how
many a core serves; one that waits, as for an accelerator, is what a simulation of queues can
foretell on a machine whose cores do other things, too.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.accelerated import app
from benchmarks.poisson import Measured, open_loop
from benchmarks.processes import served
from benchmarks.simulation import Latency, Process, Times, busiest, simulate, sustained

MODELS: Final = ("perceptron", "accelerator")

#: Parts of what full batches serve.
LOADS: Final = (0.25, 0.5, 0.75)

#: Of batches, in rows.
SIZES: Final = (1, 2, 4, 8, 16, 32)

#: Requests a second to plan for.
PLANNED: Final = (100_000, 1_000_000)

#: Connections to each process, of which a load balancer chooses the process once.
CONNECTIONS: Final = 10


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, seconds of each of its parts, and requests in a simulation."""

    rounds: int
    calibration: float
    load: float
    requests: int


QUICK: Final = Effort(rounds=1, calibration=0.1, load=0.3, requests=1000)
FULL: Final = Effort(rounds=7, calibration=0.6, load=3.0, requests=20_000)


def main() -> None:
    """Measure and simulate; print both, and how many processes a load takes."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.capacity")
    parser.add_argument("--quick", action="store_true", help="few calls: a check that all works")
    parser.add_argument(
        "--p99-ms",
        type=float,
        default=250.0,
        help="milliseconds that 99 of 100 calls may take, in the plan; default: %(default)s",
    )
    arguments = parser.parse_args()
    effort = QUICK if arguments.quick else FULL
    serve = [
        "blazerpc.cli",
        "serve",
        "benchmarks.accelerated:app",
        "--port",
        "0",
        "--no-access-log",
    ]
    console = Console(width=100)
    with served(serve, pinned=True) as target:
        for model in MODELS:
            rounds = asyncio.run(_rounds(target, model, effort))
            console.print(_times(rounds, model))
            console.print(_comparison(rounds, effort))
            console.print(_plan(rounds, arguments.p99_ms / 1000, effort))


@dataclass(frozen=True)
class Round:
    """A server process, and how long calls took at each load in requests a second."""

    process: Process
    loads: dict[float, Latency]


async def _rounds(target: str, model: str, effort: Effort) -> list[Round]:
    found: list[Round] = []
    rates: list[float] = []
    for number in range(effort.rounds):
        measured = Measured(model)
        await measured.add(target, effort.calibration)
        process = Process(
            Times(measured.service),
            Times(measured.overhead),
            app.options.max_batch_size,
            app.options.batch_timeout_ms / 1000,
        )
        rates = rates or [part * process.capacity for part in LOADS]
        loads = {
            rate: Latency.of(await open_loop(target, model, rate, effort.load, seed=number))
            for rate in rates
        }
        found.append(Round(process, loads))
    return found


def _median(rounds: list[Latency]) -> Latency:
    p50, p99 = (
        statistics.median(figures)
        for figures in zip(*((r.p50, r.p99) for r in rounds), strict=True)
    )
    return Latency(p50, p99)


def _times(rounds: list[Round], model: str) -> Table:
    table = Table(title=f"{model}, one process on one core")
    for column in ("batch", "ms of the batch", "ms besides", "req/s of such batches"):
        table.add_column(column, justify="right")
    for size in SIZES:
        service = statistics.median(each.process.service.mean(size) for each in rounds)
        besides = statistics.median(each.process.overhead.mean(size) for each in rounds)
        table.add_row(
            str(size), f"{1000 * service:.2f}", f"{1000 * besides:.2f}", f"{size / service:,.0f}"
        )
    return table


def _comparison(rounds: list[Round], effort: Effort) -> Table:
    table = Table(title="Measured and simulated")
    for column in ("req/s", "p50 ms", "simulated", "error", "p99 ms", "simulated", "error"):
        table.add_column(column, justify="right")
    for rate in rounds[0].loads:
        found = _median([each.loads[rate] for each in rounds])
        expected = _median([simulate(each.process, rate, effort.requests) for each in rounds])
        table.add_row(
            f"{rate:,.0f}",
            *_compared(found.p50, expected.p50),
            *_compared(found.p99, expected.p99),
        )
    return table


def _compared(measured: float, simulated: float) -> tuple[str, str, str]:
    error = simulated / measured - 1
    return f"{1000 * measured:.1f}", f"{1000 * simulated:.1f}", f"{error:+.0%}"


def _plan(rounds: list[Round], p99: float, effort: Effort) -> Table:
    possible = statistics.median(sustained(each.process, p99, effort.requests) for each in rounds)
    # No more than was measured: beyond that little more load is a much longer wait.
    rate = min(possible, max(rounds[0].loads))
    table = Table(
        title=f"p99 within {1000 * p99:.0f} ms: {possible:,.0f} req/s of a process in the "
        f"simulation, {rate:,.0f} in the plan"
    )
    for column in (
        "req/s",
        "processes",
        "with a tenth lost",
        f"{CONNECTIONS} connections to each, placed once",
    ):
        table.add_column(column, justify="right")
    for planned in PLANNED:
        if not rate:
            table.add_row(f"{planned:,}", "none will do", "", "")
            continue
        needed = math.ceil(planned / rate)
        table.add_row(
            f"{planned:,}",
            f"{needed:,}",
            f"{math.ceil(needed / 0.9):,}",
            f"{math.ceil(needed * busiest(needed, CONNECTIONS * needed)):,}",
        )
    return table


if __name__ == "__main__":
    main()
