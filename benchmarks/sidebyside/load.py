"""The load that a server gets: h2load's, or where that is missing a program's of our own."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import struct
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from benchmarks.sidebyside.rows import ServerRow

#: What precedes a message: whether it is compressed, and its length.
PREFIX: Final = struct.Struct(">BI")

#: Seconds that a round may take beyond what it was made for.
PATIENCE: Final = 60


class BenchmarkError(Exception):
    """What went wrong with one server or client, in a sentence."""


@dataclass(frozen=True)
class Calls:
    """What came of a round: calls that ended, seconds it took, and their median in seconds."""

    count: int
    seconds: float
    p50: float


class Load(Protocol):
    """Makes the calls of a row."""

    name: str

    def warm_up(self, row: ServerRow, target: str) -> None:
        """Call for a moment, before the first round of a row.

        Raises:
            BenchmarkError: when a call failed.
        """
        ...

    def run(self, row: ServerRow, target: str, seconds: float) -> Calls:
        """Call for about so long.

        Raises:
            BenchmarkError: when a call failed.
        """
        ...


def available_load(work: Path, environment: Mapping[str, str]) -> Load:
    """Return h2load if it is installed, and else what stands in for it."""
    h2load = shutil.which("h2load")
    return OwnLoad(work, environment) if h2load is None else H2load(h2load, work)


class H2load:
    """h2load, which costs least and favours no server.

    It is given a number of calls and not a time: after a time it cuts off the calls that are under
    way, whose cost would be counted and they would not.
    """

    def __init__(self, program: str, work: Path) -> None:
        self._program = program
        self._work = work
        self._rates: dict[tuple[str, str], float] = {}
        self.name = output([program, "--version"]).strip()

    def warm_up(self, row: ServerRow, target: str) -> None:
        """Call for a moment, and find out at which rate."""
        found = self._run(row, target, ["-D", "300ms"], 1)
        self._rates[row.name, target] = found.count / found.seconds

    def run(self, row: ServerRow, target: str, seconds: float) -> Calls:
        """Call as often as takes so long at the rate of the warm-up."""
        at_once = row.connections * row.streams
        # A whole number of rounds, so that no connection has one less than the others.
        count = max(1, round(self._rates[row.name, target] * seconds / at_once)) * at_once
        return self._run(row, target, ["-n", str(count)], seconds)

    def _run(self, row: ServerRow, target: str, effort: list[str], seconds: float) -> Calls:
        body, log = self._work / "body", self._work / "log"
        request = row.request.SerializeToString()
        body.write_bytes(PREFIX.pack(0, len(request)) + request)
        log.unlink(missing_ok=True)
        command = [self._program, *effort, "-t", "1"]
        command += ["-c", str(row.connections), "-m", str(row.streams), "-w", "30", "-W", "30"]
        command += ["-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers"]
        command += [f"--log-file={log}"] if row.latency else []
        said = output([*command, f"http://{target}{row.path}"], seconds + PATIENCE)
        found = parsed(said)
        size = row.count * (PREFIX.size + row.response.ByteSize())
        # It looks at no grpc-status: a call that failed has too little data.
        if found.data < found.calls.count * size:
            raise BenchmarkError(f"{found.calls.count} calls gave {found.data} bytes of data")
        if not row.latency:
            return found.calls
        return Calls(found.calls.count, found.calls.seconds, logged_median(log.read_text()))


@dataclass(frozen=True)
class H2loadResult:
    """What h2load says of a run; the median of a call is in its log only."""

    calls: Calls
    data: int


_FINISHED: Final = re.compile(r"^finished in ([\d.]+)(us|ms|s|m)\b", re.MULTILINE)
_REQUESTS: Final = re.compile(
    r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", re.MULTILINE
)
_DATA: Final = re.compile(r"^traffic: .* \((\d+)\) data$", re.MULTILINE)
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parsed(text: str) -> H2loadResult:
    """Read what h2load prints.

    Raises:
        BenchmarkError: when it is something else, or calls failed.
    """
    finished, requests, data = (each.search(text) for each in (_FINISHED, _REQUESTS, _DATA))
    if finished is None or requests is None or data is None:
        raise BenchmarkError(f"h2load did not finish: {(text.splitlines() or ['nothing'])[-1]}")
    succeeded, *bad = map(int, requests.groups())
    if any(bad):
        raise BenchmarkError(f"calls failed: {requests.group()}")
    seconds = float(finished[1]) * _SECONDS[finished[2]]
    return H2loadResult(Calls(succeeded, seconds, 0.0), int(data[1]))


def logged_median(log: str) -> float:
    """Return the median of h2load's log: lines of start, status and microseconds."""
    return statistics.median(int(line.split("\t")[2]) for line in log.splitlines()) / 1e6


class OwnLoad:
    """A program on grpcio's client: dearer than h2load, so that plain rates may be its own."""

    name = "clients/load.py, since h2load is not installed (Debian: apt install nghttp2-client)"

    def __init__(self, work: Path, environment: Mapping[str, str]) -> None:
        self._work = work
        self._environment = environment

    def warm_up(self, row: ServerRow, target: str) -> None:
        """Call for a moment."""
        self.run(row, target, 0.1)

    def run(self, row: ServerRow, target: str, seconds: float) -> Calls:
        """Call for so long."""
        request = self._work / "request"
        request.write_bytes(row.request.SerializeToString())
        command = [sys.executable, "-m", "benchmarks.sidebyside.clients.load", target]
        command += ["--path", row.path, "--request", str(request), "--seconds", str(seconds)]
        command += ["--connections", str(row.connections), "--concurrency", str(row.streams)]
        found = json.loads(output(command, seconds + PATIENCE, self._environment))
        return Calls(found["calls"], found["seconds"], found["p50"])


def output(
    command: list[str], patience: float = PATIENCE, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program, and return what it prints.

    Raises:
        BenchmarkError: when it fails, or takes longer.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=patience, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{command[0]} took more than {patience:g} s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise BenchmarkError(f"{' '.join(command[:4])} failed: {said[-1]}")
    return done.stdout
