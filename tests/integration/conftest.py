"""Servers that several tests of a module share, and clients generated from them."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.ray_node import Node, directory, free_port
from tests.integration.reach import Peer, peers

#: Ray's own imports warn.
RAY_PROGRAM: Final = ("-W", "ignore", "-m", "blazerpc.cli")

ON_RAY: Final = pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.timeout(180)])


@pytest.fixture(scope="module", params=["local", ON_RAY])
def examples(
    request: pytest.FixtureRequest, start_module_server: StartServer
) -> Iterator[ServerProcess]:
    """A server of examples.app, on each engine."""
    if request.param == "local":
        yield start_module_server("examples.app:app")
        return
    request.getfixturevalue("ray_token")
    server = start_module_server("examples.app:app", "--engine", "ray", program=RAY_PROGRAM)
    yield server
    # It ends its Ray, too.
    assert server.stop()[0] == 0


@pytest.fixture(scope="module")
def ray_token() -> Iterator[None]:
    """Protect the Ray of these tests, and leave those of others alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))
        patch.delenv("RAY_ADDRESS", raising=False)
        # How often Ray Serve counts calls, for a test that waits for what it does then.
        patch.setenv("RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S", "1")
        # When it says that a replica does not start, likewise.
        patch.setenv("RAY_SERVE_SLOW_STARTUP_WARNING_S", "1")
        yield


@pytest.fixture(scope="module")
def node(ray_token: None) -> Iterator[Node]:
    """A Ray that servers are given the address of."""
    with directory() as path:
        node = Node(path, port=free_port())
        yield node
        node.kill()


def on_ray(
    start: StartServer, app: str, node: Node, *options: str, listening: bool = True
) -> ServerProcess:
    """Start a server on the Ray of a node."""
    assert node.address is not None
    ray = ("--engine", "ray", "--ray-address", node.address)
    return start(app, *ray, *options, program=RAY_PROGRAM, listening=listening)


@pytest.fixture(scope="module")
def models(start_module_server: StartServer) -> ServerProcess:
    """A server of tests.apps.models."""
    return start_module_server("tests.apps.models:app")


@pytest.fixture(scope="module")
def wire(start_module_server: StartServer) -> ServerProcess:
    """A server of tests.apps.wire, with the limits that it has by default."""
    return start_module_server("tests.apps.wire:app", "--no-access-log", "--http", "blaze")


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """An event loop that lasts as long as a module's tests."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server of grpcio."""
    with peers(1) as (found,):
        yield found


@contextmanager
def foreign_server() -> Iterator[str]:
    """Run tests.peers.foreign_server; give its address."""
    command = [sys.executable, "-W", "error", "-m", "tests.peers.foreign_server"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(timeout=20) == 0


def blaze(
    *arguments: str, cwd: Path = ROOT, warnings: str = "error"
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-W", warnings, "-m", "blazerpc.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=50, check=False)


async def logged(server: ServerProcess, text: str) -> None:
    """Wait until the server has written ``text`` to its standard error."""
    try:
        async with asyncio.timeout(30):
            while text not in server.errors():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"the server wrote {server.errors()!r}, and not {text!r}") from None


def http_of(server: ServerProcess) -> str:
    """Return the address of a server's HTTP."""
    (line,) = [line for line in server.banner.splitlines() if line.startswith("HTTP on ")]
    return line.split()[-1]


def generated(server: ServerProcess, directory: Path, package: str) -> ModuleType:
    """Generate a client with the command line, and import it."""
    done = blaze(
        "client", "gen", "--from", server.target, "--out", str(directory), "--package", package
    )
    assert done.returncode == 0, done.stderr
    return imported(directory, package)


def imported(directory: Path, package: str) -> ModuleType:
    """Import a package that is in ``directory``."""
    sys.path.insert(0, str(directory))
    try:
        return importlib.import_module(package)
    finally:
        sys.path.remove(str(directory))
