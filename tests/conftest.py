"""Real servers in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run: what passed here passes there. For others, run pytest with
# --hypothesis-profile=default.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent


class ServerProcess:
    """``blaze serve`` in a process group of its own, listening unless told otherwise."""

    def __init__(
        self,
        app: str,
        *options: str,
        directory: Path = ROOT,
        program: Sequence[str] = ("-m", "blazerpc.cli"),
        listening: bool = True,
    ) -> None:
        # Appended to: the place of the next write is shared by the server's processes.
        self._errors = tempfile.TemporaryFile("a+b")  # noqa: SIM115 - closed by kill()
        # -W error: a warning in the server is as much a fault as one in the tests.
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                *program,
                "serve",
                app,
                "--port",
                "0",
                *options,
            ],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            stdout=subprocess.PIPE,
            # A file, and not a pipe that nobody reads: a full one would stop the server.
            stderr=self._errors,
            text=True,
            process_group=0,
        )
        if listening:
            self.listens()

    def listens(self) -> None:
        """Wait until the server listens."""
        # The line is printed once the server listens: reading it is the wait for readiness.
        self.banner = self.printed("Serving on ")
        self.target = self.banner.split()[-1]

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])

    def printed(self, start: str) -> str:
        """Return what the server prints from here to a line with that start."""
        assert self.process.stdout is not None
        text = ""
        for line in self.process.stdout:
            text += line
            if line.startswith(start):
                return text
        raise AssertionError(f"the server ended without {start!r}: {text}{self.errors()}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 20) -> tuple[int, str]:
        """Return exit code and standard error, once the process has ended."""
        code = self.process.wait(timeout)
        return code, self.errors()

    def errors(self) -> str:
        """Return what the server has written to standard error so far."""
        file = self._errors.fileno()
        # pread: every write of the server moves the place that this process reads from, too.
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def stop(self) -> tuple[int, str]:
        """Stop with SIGTERM; return exit code and standard error."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._errors.close()


StartServer = Callable[..., ServerProcess]


@contextmanager
def _servers() -> Iterator[StartServer]:
    started: list[ServerProcess] = []

    def start(
        app: str,
        *options: str,
        directory: Path = ROOT,
        program: Sequence[str] = ("-m", "blazerpc.cli"),
        listening: bool = True,
    ) -> ServerProcess:
        server = ServerProcess(
            app, *options, directory=directory, program=program, listening=listening
        )
        started.append(server)
        return server

    try:
        yield start
    finally:
        for server in started:
            server.kill()


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Start servers that end with the test."""
    with _servers() as start:
        yield start


@pytest.fixture(scope="module")
def start_module_server() -> Iterator[StartServer]:
    """Start servers that end with the module's tests."""
    with _servers() as start:
        yield start
