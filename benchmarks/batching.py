"""Batching on and off: single-row requests to a NumPy perceptron, by concurrency.

One server, on a core of its own, so that batching is the one way to more; one client process
(grpcio.aio's, which costs least) on another. Rounds of on and off in turns.
Figures are medians of the rounds. The batch size is what the server says of each call.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc.aio
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.mlp import LAYERS, Perceptron, app
from benchmarks.processes import served
from blazerpc.codegen.schema import SERVICE_NAME, build_schema
from blazerpc.runtime.serialization import serialize_tensor
from blazerpc_client import UnaryMethod

CONCURRENCIES: Final = (1, 8, 64, 256)
MODES: Final = ("off", "10ms", "100ms")


@dataclass(frozen=True)
class Effort:
    """How much is measured: rounds, and seconds of each."""

    rounds: int
    seconds: float


QUICK: Final = Effort(rounds=1, seconds=0.1)
FULL: Final = Effort(rounds=5, seconds=1.5)


@dataclass(frozen=True)
class Round:
    """What one round of calls has shown: milliseconds, and rows in a batch."""

    rate: float
    p50: float
    p99: float
    batch: float


def main() -> None:
    """Measure, and print a row for each model, concurrency and mode."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.batching")
    parser.add_argument("--quick", action="store_true", help="few calls: a check that all works")
    effort = QUICK if parser.parse_args().quick else FULL
    console = Console(width=110)
    serve = ["blazerpc.cli", "serve", "benchmarks.mlp:app", "--port", "0", "--no-access-log"]
    with served(serve, pinned=True) as target:
        for model in LAYERS:
            console.print(asyncio.run(_report(target, model, effort)))


async def _report(target: str, model: str, effort: Effort) -> Table:
    table = Table(title=f"{model}: {_cost(model)}")
    for column in ("concurrency", "batching", "req/s", "by off", "p50 ms", "p99 ms", "mean batch"):
        table.add_column(column, justify="right")
    for concurrency in CONCURRENCIES:
        rounds: dict[str, list[Round]] = {mode: [] for mode in MODES}
        for _ in range(effort.rounds):
            for mode in MODES:
                rounds[mode].append(await _round(target, f"{model}-{mode}", concurrency, effort))
        off = _median(rounds["off"], lambda r: r.rate)
        for mode in MODES:
            found = rounds[mode]
            rate = _median(found, lambda r: r.rate)
            table.add_row(
                str(concurrency),
                mode if mode == "off" else f"on, {mode}",
                f"{rate:,.0f}",
                f"{rate / off:.2f}",
                f"{_median(found, lambda r: r.p50):.2f}",
                f"{_median(found, lambda r: r.p99):.2f}",
                f"{_median(found, lambda r: r.batch):.1f}",
                end_section=mode == MODES[-1],
            )
    return table


def _cost(model: str) -> str:
    """Return what a call of the model costs in this process, without a server."""
    perceptron = Perceptron(LAYERS[model])
    costs = []
    for rows in (1, 32):
        x = np.ones((rows, 64), np.float32)
        times = []
        for _ in range(30):
            start = time.perf_counter()
            perceptron(x)
            times.append(time.perf_counter() - start)
        costs.append(f"{statistics.median(times) * 1000:.2f} ms for {rows} rows")
    return f"a call takes {', '.join(costs)}".replace("1 rows", "1 row")


def _median(rounds: Iterable[Round], figure: Callable[[Round], float]) -> float:
    return statistics.median(map(figure, rounds))


async def _round(target: str, model: str, concurrency: int, effort: Effort) -> Round:
    """Call the model for a while, with ``concurrency`` calls under way."""
    rpc = app.registry.get(model).rpc
    method: UnaryMethod[object] = UnaryMethod(build_schema(app.registry), f"{SERVICE_NAME}.{rpc}")
    request: Any = method.request_class()
    tensor = serialize_tensor(np.ones((1, 64), np.float32))
    request.x.shape.extend(tensor.shape)
    request.x.dtype, request.x.data = tensor.dtype, tensor.data
    payload = request.SerializeToString()
    times: list[float] = []
    batches: list[int] = []
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method.path)
        await asyncio.gather(*(call(payload) for _ in range(concurrency)))  # connects, warms up
        begun = time.perf_counter()

        async def work() -> None:
            while (start := time.perf_counter()) - begun < effort.seconds:
                running = call(payload)
                trailers = await running.trailing_metadata()
                times.append(time.perf_counter() - start)
                batches.append(next(int(v) for k, v in trailers if k == "blaze-batch-size"))

        await asyncio.gather(*(work() for _ in range(concurrency)))
        took = time.perf_counter() - begun
    times.sort()
    # The mean of batches, not of requests: each of n requests of a batch reports n.
    mean = len(batches) / sum(1 / size for size in batches)
    p50, p99 = (1000 * times[int(len(times) * part)] for part in (0.5, 0.99))
    return Round(len(times) / took, p50, p99, mean)


if __name__ == "__main__":
    main()
