"""Real servers in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
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
    """``blaze serve`` in a process of its own, listening."""

    def __init__(self, app: str, *options: str, directory: Path = ROOT) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by kill()
        # -W error: a warning in the server is as much a fault as one in the tests.
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                "-m",
                "blazerpc.cli",
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
        )
        assert self.process.stdout is not None
        self.banner = ""
        # The line is printed once the server listens: reading it is the wait for readiness.
        for line in self.process.stdout:
            self.banner += line
            if line.startswith("Serving on "):
                self.target = line.split()[-1]
                return
        raise AssertionError(f"the server did not start: {self.banner}{self.errors()}")

    @property
    def port(self) -> int:
        return int(self.target.rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = 20) -> tuple[int, str]:
        """Return exit code and standard error, once the process has ended."""
        code = self.process.wait(timeout)
        return code, self.errors()

    def errors(self) -> str:
        """Return what the server has written to standard error so far."""
        self._errors.seek(0)
        return self._errors.read()

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

    def start(app: str, *options: str, directory: Path = ROOT) -> ServerProcess:
        server = ServerProcess(app, *options, directory=directory)
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
