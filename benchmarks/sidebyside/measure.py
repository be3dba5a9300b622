"""Runs the rows: every peer in turns, round by round."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from grpc_tools import protoc
from rich.console import Console

from benchmarks.processes import Cores, Server, apart, running_on, started
from benchmarks.sidebyside.app import app
from benchmarks.sidebyside.check import check
from benchmarks.sidebyside.figures import Figures, Measured, Report
from benchmarks.sidebyside.load import BenchmarkError, Load, available_load, output
from benchmarks.sidebyside.peers import CALLED, CLIENTS, ROOT, SERVERS, Peer
from benchmarks.sidebyside.process_stats import TICK, cpu_seconds, has_loaded
from benchmarks.sidebyside.rows import ClientRow, Row, ServerRow
from benchmarks.sidebyside.table import row_table
from blazerpc.cli.proto import export_proto

#: Seconds that a client program may take beyond its round.
PATIENCE: Final = 60


@dataclass(frozen=True)
class Options:
    """What is measured, and how long.

    Attributes:
        rows: what to measure.
        peers: names of servers and clients; those that cannot run here are left out.
        rounds: of each row.
        seconds: of a round.
    """

    rows: Sequence[Row]
    peers: Sequence[str]
    rounds: int
    seconds: float


@dataclass
class Bench:
    """The servers that run, and what has gone wrong so far.

    Attributes:
        options: of the run.
        console: where tables go.
        environment: of all that is started.
        load: what calls the servers.
        cores: which core servers have; None for any.
        running: each server, and the process that it is.
        clients: those that can run here.
        problems: a line for each peer or row that was left out.
    """

    options: Options
    console: Console
    environment: dict[str, str]
    load: Load
    cores: Cores | None
    running: dict[Peer, Server] = field(default_factory=dict)
    clients: list[Peer] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run(options: Options, console: Console) -> tuple[Report, list[str]]:
    """Measure, and print each row when it is done.

    Returns:
        The report, and a line for each peer that failed.
    """
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    cores = apart()
    with ExitStack() as stack:
        work = Path(stack.enter_context(TemporaryDirectory()))
        if cores is not None:
            stack.enter_context(running_on(cores.load))
        environment = _environment(work)
        load = available_load(work, environment)
        bench = Bench(options, console, environment, load, cores)
        console.print(f"Load: {load.name}", highlight=False)
        versions = _start(bench, stack)
        rows = [measured for row in options.rows if (measured := _row(bench, row)).samples]
    pinned = cores is not None
    report = Report(begun, _machine(), load.name, pinned, options.seconds, versions, rows)
    return report, bench.problems


def _environment(work: Path) -> dict[str, str]:
    """Make the modules of the messages; return the environment in which they are found."""
    files = [str(path.relative_to(work)) for path in export_proto(app, work)]
    include = resources.files("grpc_tools").joinpath("_proto")
    if protoc.main(["protoc", f"-I{work}", f"-I{include}", f"--python_out={work}", *files]) != 0:
        raise BenchmarkError("protoc does not compile the schema of app.py")
    path = os.pathsep.join(map(str, (ROOT, ROOT / "stubs", work)))
    return {**os.environ, "PYTHONPATH": path}


def _start(bench: Bench, stack: ExitStack) -> dict[str, dict[str, str]]:
    """Start the servers that can run; return the versions of those and of the clients."""
    versions: dict[str, dict[str, str]] = {}
    for_servers = any(isinstance(row, ServerRow) for row in bench.options.rows)
    for_clients = any(isinstance(row, ClientRow) for row in bench.options.rows)
    for peer in SERVERS:
        wanted = for_servers and peer.name in bench.options.peers
        if (wanted or (for_clients and peer == CALLED)) and _found(bench, peer, versions):
            serving = started(peer.command(), cores=bench.cores, environment=bench.environment)
            try:
                bench.running[peer] = stack.enter_context(serving)
            except RuntimeError as error:
                bench.problems.append(f"{peer.label}: {error}")
            else:
                _expect_uvloop(peer, bench.running[peer])
    for peer in CLIENTS if for_clients else ():
        if peer.name in bench.options.peers and _found(bench, peer, versions):
            bench.clients.append(peer)
    return versions


def _found(bench: Bench, peer: Peer, versions: dict[str, dict[str, str]]) -> bool:
    found = peer.versions()
    if found is None:
        bench.console.print(f"{peer.label}: not installed, left out; `make bench-peers` adds it")
        return False
    versions.setdefault(peer.label, found)
    return True


def _expect_uvloop(peer: Peer, server: Server) -> None:
    if peer.uvloop and not has_loaded(server.pid, "uvloop"):
        raise BenchmarkError(f"{peer.label} does not run on uvloop")


def _row(bench: Bench, row: Row) -> Measured:
    """Measure one row, and print it."""
    samples: dict[str, list[Figures]] = {}
    rounds = dict(_rounds(bench, row))
    for number in range(bench.options.rounds):
        for peer, measure in list(rounds.items()):
            status = f"{row.title}: round {number + 1} of {bench.options.rounds}, {peer.label}"
            # Seldom drawn anew: this process has the core of the load.
            with bench.console.status(status, refresh_per_second=1):
                try:
                    samples.setdefault(peer.label, []).append(measure())
                except BenchmarkError as error:
                    bench.problems.append(f"{peer.label}, {row.title}: {error}")
                    del rounds[peer]
                    del samples[peer.label]
    measured = Measured(row.name, row.title, row.unit, row.latency, samples)
    if samples:
        bench.console.print(row_table(measured))
    return measured


def _rounds(bench: Bench, row: Row) -> Iterator[tuple[Peer, Callable[[], Figures]]]:
    """Yield for each peer of a row what measures one round of it."""
    if isinstance(row, ClientRow):
        for peer in bench.clients:
            yield peer, _client_round(bench, row, peer)
        return
    for peer, server in bench.running.items():
        if peer.name not in bench.options.peers:
            continue
        try:
            check(row, server.target)
            bench.load.warm_up(row, server.target)
        except BenchmarkError as error:
            bench.problems.append(f"{peer.label}, {row.title}: {error}")
        else:
            yield peer, _server_round(bench, row, server)


def _server_round(bench: Bench, row: ServerRow, server: Server) -> Callable[[], Figures]:
    def measure() -> Figures:
        before = cpu_seconds(server.pid)
        calls = bench.load.run(row, server.target, bench.options.seconds)
        cost = max(cpu_seconds(server.pid) - before, TICK)
        work = calls.count * row.per_call
        plain = 1000 * calls.p50 if row.latency else work / calls.seconds
        return Figures(plain, work / cost)

    return measure


def _client_round(bench: Bench, row: ClientRow, peer: Peer) -> Callable[[], Figures]:
    def measure() -> Figures:
        seconds = bench.options.seconds
        command = [*peer.command(), bench.running[CALLED].target, "--seconds", str(seconds)]
        command += ["--concurrency", str(row.concurrency)]
        found = json.loads(output(command, seconds + PATIENCE, bench.environment))
        return Figures(found["calls"] / found["seconds"], found["calls"] / found["cpu_seconds"])

    return measure


def _machine() -> dict[str, str]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "python": sys.version.split()[0],
    }
