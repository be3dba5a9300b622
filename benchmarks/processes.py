"""Servers in processes of their own, for the benchmarks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

#: Seconds that a server has to come up, and to stop.
PATIENCE: Final = 30


@contextmanager
def served(args: list[str], *, pinned: bool = False) -> Iterator[str]:
    """Run a server's module; give the address that it announces, and stop it at the end.

    Args:
        args: module and arguments.
        pinned: whether the server has one core and this process the others, where the system can.
    """
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if pinned:
        _pin(process.pid)
    try:
        assert process.stdout is not None
        yield _announced(process.stdout)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()


def _pin(server: int) -> None:
    if not hasattr(os, "sched_setaffinity"):
        return
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        os.sched_setaffinity(server, {first})
        os.sched_setaffinity(0, others)


def _announced(lines: Iterable[str]) -> str:
    for line in lines:
        if line.startswith("Serving on "):
            return line.split()[-1]
    raise RuntimeError("the server ended before it served")
