"""Servers in processes of their own, for the benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import IO, Final

#: Seconds that a server has to come up, and to stop.
PATIENCE: Final = 30


@dataclass(frozen=True)
class Cores:
    """Which core a server has, and which are left for what calls it."""

    server: set[int]
    load: set[int]


@dataclass(frozen=True)
class Server:
    """A server that serves: its address, and its process, which leads a group of its own."""

    target: str
    pid: int


@contextmanager
def served(args: list[str], *, pinned: bool = False) -> Iterator[str]:
    """Run a server's module; give the address that it announces, and stop it at the end.

    Args:
        args: module and arguments.
        pinned: whether the server has one core and this process the others, where the system can.
    """
    cores = apart() if pinned else None
    if cores is not None:
        os.sched_setaffinity(0, cores.load)
    with started([sys.executable, "-u", "-m", *args], cores=cores) as server:
        yield server.target


def apart() -> Cores | None:
    """Return one core for a server and the others for its load, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    first, *others = sorted(os.sched_getaffinity(0))
    return Cores({first}, set(others)) if others else None


@contextmanager
def started(
    command: list[str], *, cores: Cores | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server until the end of the block, with all that it starts.

    Args:
        command: prints ``Serving on HOST:PORT`` when it serves.
        cores: where it runs; None for anywhere.
        environment: in place of this process's.

    Raises:
        RuntimeError: when it ends before it serves, or takes longer than it should.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = _spawned(command, errors, cores, environment)
        late = threading.Timer(PATIENCE, process.kill)
        try:
            late.start()
            assert process.stdout is not None
            target = _announced(process.stdout)
            late.cancel()
            if target is None:
                errors.seek(0)
                said = errors.read().strip().splitlines() or ["nothing"]
                raise RuntimeError(f"{' '.join(command)} does not serve; it said: {said[-1]}")
            yield Server(target, process.pid)
        finally:
            late.cancel()
            _end(process)


def _spawned(
    command: list[str],
    errors: IO[str],
    cores: Cores | None,
    environment: Mapping[str, str] | None,
) -> subprocess.Popen[str]:
    with nullcontext() if cores is None else running_on(cores.server):
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            process_group=0,
        )


@contextmanager
def running_on(cores: set[int]) -> Iterator[None]:
    """Keep this thread there: what it starts inherits that, with all its threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    finally:
        with suppress(ProcessLookupError):  # when nobody of its group is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _announced(lines: Iterable[str]) -> str | None:
    for line in lines:
        if line.startswith("Serving on "):
            return line.split()[-1]
    return None
