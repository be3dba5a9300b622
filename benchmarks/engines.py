"""Engines side by side: this process, Ray with one and two replicas, Ray Serve's own gRPC proxy.

The same model each time. The proxy is called with a client of grpcio, and a proto written by hand.
All servers run all the time and are called in turns; figures are medians of the rounds. The client
and all of Ray take their shares of the same cores.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks import ray_proxy
from benchmarks.echo import Effort
from benchmarks.processes import served
from blazerpc import BlazeApp, BlazeClient, Resources, TensorInput, TensorOutput

Rows = npt.NDArray[np.float32]

#: Makes one call.
Call = Callable[[Rows], Awaitable[object]]

#: Calls under way at one time, at most.
CALLERS: Final = 16

#: Numbers in a row.
WIDTH: Final = 16


@dataclass(frozen=True, slots=True)
class Load:
    """What a server is asked for.

    Attributes:
        rows: of a request.
        callers: calls under way at one time.
    """

    rows: int
    callers: int

    @property
    def size(self) -> int:
        """Bytes of a request's array."""
        return self.rows * WIDTH * 4

    def __str__(self) -> str:
        size = f"{self.size // 1000} KB" if self.size >= 1000 else f"{self.size} B"
        return f"{size}, {self.callers} caller{'s' if self.callers > 1 else ''}"


LOADS: Final = (Load(1, 1), Load(1, CALLERS), Load(600_000 // (4 * WIDTH), CALLERS))

QUICK: Final = Effort(rounds=1, seconds=0.3)
FULL: Final = Effort(rounds=5, seconds=2.0)


def _app(replicas: int) -> BlazeApp:
    app = BlazeApp(f"engines{replicas}", enable_batching=False)

    @app.model("twice", resources=Resources(cpus=0.1, replicas=replicas, max_ongoing=CALLERS))
    def twice(x: TensorInput[Rows, "batch", 16]) -> TensorOutput[Rows, "batch", 16]:
        return x * np.float32(2)

    return app


one: BlazeApp = _app(1)
two: BlazeApp = _app(2)

_SERVE: Final = ("blazerpc.cli", "serve", "--port", "0", "--no-access-log")

#: Modules and arguments of what is compared.
SERVERS: Final = {
    "this process": (*_SERVE, "benchmarks.engines:one"),
    "Ray, 1 replica": (*_SERVE, "benchmarks.engines:one", "--engine", "ray"),
    "Ray, 2 replicas": (*_SERVE, "benchmarks.engines:two", "--engine", "ray"),
    "Ray Serve's proxy": ("benchmarks.ray_proxy",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one load on one server.

    Attributes:
        rate: calls a second.
        p50: milliseconds of a call, at the median.
        p99: likewise, at the 99th percentile.
    """

    rate: float
    p50: float
    p99: float


def main() -> None:
    """Measure, and print calls and bytes a second, and how long calls take."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.engines")
    parser.add_argument("--quick", action="store_true", help="few calls: a check that all works")
    effort = QUICK if parser.parse_args().quick else FULL
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        ray_proxy.generate(Path(directory))
        sys.path.insert(0, directory)
        os.environ["PYTHONPATH"] = os.pathsep.join([directory, os.environ.get("PYTHONPATH", "")])
        targets = {name: stack.enter_context(served(list(args))) for name, args in SERVERS.items()}
        found = asyncio.run(compare(targets, effort))
    for load in LOADS:
        Console().print(report(load, {name: found[name, load] for name in targets}))
    Console().print(f"One connection; {os.cpu_count()} cores for all of it.")


def report(load: Load, found: dict[str, Figures]) -> Table:
    """Return the figures of each server; bytes a second where a call has many."""
    large = load.size >= 1000
    table = Table("engine", "calls/s", "p50 ms", "p99 ms", title=str(load))
    if large:
        table.add_column("MB/s each way")
    for name, figures in found.items():
        cells = [f"{figures.rate:,.0f}", f"{figures.p50:,.1f}", f"{figures.p99:,.1f}"]
        if large:
            cells.append(f"{figures.rate * load.size / 1e6:,.0f}")
        table.add_row(name, *cells)
    return table


async def compare(targets: dict[str, str], effort: Effort) -> dict[tuple[str, Load], Figures]:
    """Return the figures of each server and each load."""
    found: dict[tuple[str, Load], list[Figures]] = {}
    async with AsyncExitStack() as stack:
        calls = {
            name: await stack.enter_async_context(
                proxy(target) if name.endswith("proxy") else blaze(target)
            )
            for name, target in targets.items()
        }
        for _ in range(effort.rounds):
            for load in LOADS:
                for name, call in calls.items():
                    figures = await measured(call, load, effort.seconds)
                    found.setdefault((name, load), []).append(figures)
    return {
        key: Figures(
            rate=statistics.median(each.rate for each in rounds),
            p50=statistics.median(each.p50 for each in rounds),
            p99=statistics.median(each.p99 for each in rounds),
        )
        for key, rounds in found.items()
    }


@asynccontextmanager
async def blaze(target: str) -> AsyncIterator[Call]:
    """Give what calls one of our servers."""
    host, _, port = target.rpartition(":")
    async with BlazeClient(host, int(port), one.registry) as client:
        yield lambda x: client.predict("twice", x=x)


@asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Call]:
    """Give what calls Ray Serve's proxy."""
    import grpc

    messages: Any = importlib.import_module("twice_pb2")
    stubs: Any = importlib.import_module("twice_pb2_grpc")
    metadata = [("application", ray_proxy.NAME)]
    async with grpc.aio.insecure_channel(target) as channel:
        stub = stubs.TwiceStub(channel)

        async def call(x: Rows) -> Rows:
            request = messages.Rows(rows=len(x), data=x.tobytes())
            answer = await stub.Call(request, metadata=metadata)
            return np.frombuffer(answer.data, np.float32).reshape(answer.rows, -1)

        yield call


async def measured(call: Call, load: Load, seconds: float) -> Figures:
    """Return the figures of callers who call again as soon as they are answered."""
    x = np.ones((load.rows, WIDTH), np.float32)
    answer = await call(x)
    assert np.array_equal(np.asarray(answer), x * 2)
    took: list[float] = []
    start = time.perf_counter()

    async def caller() -> None:
        while (begun := time.perf_counter()) - start < seconds:
            await call(x)
            took.append(time.perf_counter() - begun)

    await asyncio.gather(*(caller() for _ in range(load.callers)))
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    return Figures(rate=len(took) / (time.perf_counter() - start), p50=float(p50), p99=float(p99))


if __name__ == "__main__":
    main()
