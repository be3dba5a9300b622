"""Nodes of a Ray on this machine, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Loopback, under a name that Ray does not replace by that of the network.
HEAD = "127.0.0.2"
OTHER = "127.0.0.3"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HEAD, 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def directory() -> Iterator[Path]:
    """A directory whose name is short: Ray has sockets in it."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as name:
        yield Path(name)


class Node:
    """``ray start``: a head when it has a port, else one that joins the head at an address."""

    def __init__(
        self, directory: Path, *options: str, port: int | None = None, join: str | None = None
    ) -> None:
        # Before the head has another one, so that a head that comes back has the same.
        role = ["--head", f"--port={port}", f"--temp-dir={directory}"] if port else []
        self.address = f"{HEAD}:{port}" if port else join
        where = [f"--node-ip-address={HEAD if port else OTHER}"]
        joined = [f"--address={join}"] if join else ["--include-dashboard=false"]
        self._process = subprocess.Popen(
            [
                *[sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=16"],
                *["--object-store-memory=100000000", "--disable-usage-stats"],
                *options,
                *role,
                *where,
                *joined,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._await_start()

    def _await_start(self) -> None:
        assert self._process.stdout is not None
        text = ""
        for line in self._process.stdout:
            text += line
            if "Ray runtime started" in line:
                return
        self._process.communicate()
        raise AssertionError(f"Ray did not start: {text}")

    @property
    def processes(self) -> list[int]:
        """All processes of the node."""
        return [self._process.pid, *descendants(self._process.pid)]

    def kill(self) -> None:
        """End all of it at once, as the loss of a machine does."""
        assert self._process.stdout is not None
        if self._process.stdout.closed:
            return
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.communicate()


def descendants(process: int) -> list[int]:
    """Return the children of a process, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for child, parent, _ in _processes():
        children.setdefault(parent, []).append(child)
    found = [process]
    for each in found:
        found += children.get(each, [])
    return found[1:]


def replicas(node: Node) -> list[int]:
    """Return the processes of a node that run models."""
    return actors(node, "ServeReplica")


def actors(node: Node, kind: str) -> list[int]:
    """Return the processes of a node that are actors of that class."""
    of_node = set(node.processes)
    return [p for p, _, title in _processes() if p in of_node and f"ray::{kind}" in title]


def running(processes: set[int]) -> set[int]:
    """Return which of the processes have not ended."""
    return processes & {process for process, _, title in _processes() if title}


def _processes() -> Iterator[tuple[int, int, str]]:
    """Yield each process, its parent, and its title, which is empty when it has ended."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                title = (entry / "cmdline").read_bytes().decode(errors="replace")
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                yield int(entry.name), int(fields[1]), title
