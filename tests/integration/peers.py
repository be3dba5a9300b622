"""Programs of others that stand at the other end of a connection."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nginx import proxied
from tests.conftest import ROOT, ServerProcess, StartServer

JS = ROOT / "tests" / "peers" / "js"

#: How grpcio and grpc-js call gzip in ``grpc.default_compression_algorithm``.
GZIP = {"grpc.default_compression_algorithm": 2}

#: Bytes of messages: none, one, whole frames, more than a usual window, and much more.
SIZES = [0, 1, 16384, 70_000, 5_000_000, 31 << 20]
FEW = SIZES[:4]

GRPCIO = (sys.executable, "-m", "tests.peers.grpcio_wire")


def program(name: str, package: str) -> str:
    """Return the path of a program; without it, the test is skipped."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return path


def grpc_js(role: str) -> list[str]:
    """Return the command of grpc-js, which ``make peers`` installs."""
    return [program("node", "nodejs npm"), str(JS / f"{role}.js")]


def kserve() -> list[str]:
    """Return the command of KServe's clients, which ``make peers`` installs."""
    python = Path(sys.prefix) / "peers" / "kserve" / "bin" / "python"
    if not python.exists():
        pytest.skip("kserve is not installed: make peers")
    return [str(python), str(ROOT / "tests" / "peers" / "kserve_client.py")]


def output(command: Sequence[str]) -> str:
    """Run a program; return what it prints."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def called(command: Sequence[str], target: str, options: dict[str, Any], sizes: list[int]) -> Any:
    """Run a client of /wire.Shapes; return what it says of it."""
    argument = json.dumps({"options": options, "sizes": sizes})
    return json.loads(output([*command, target, argument]))


def start_wire(start: StartServer, *options: str, **limits: Any) -> ServerProcess:
    """Start a server of /wire.Shapes and of the models of tests.apps.wire."""
    return start(
        "tests.apps.wire:app",
        "--limits",
        json.dumps(limits),
        *options,
        program=("-m", "tests.peers.wire_server"),
    )


@contextmanager
def serving(command: Sequence[str]) -> Iterator[str]:
    """Run a server that prints its address and ends with its standard input; give the address."""
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(timeout=20) == 0


@contextmanager
def nginx(target: str, directory: Path, *, keepalive: int = 1) -> Iterator[str]:
    """Run nginx in front of a gRPC server; give its address."""
    path = program("nginx", "nginx-light")
    with proxied(path, target, directory, keepalive=keepalive) as server:
        yield server.target
