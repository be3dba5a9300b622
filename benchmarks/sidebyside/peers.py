"""What is compared, and where it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent

#: Below it, what ``make bench-peers`` makes: an environment for each file in ``environments/``.
ENVIRONMENTS: Final = ROOT / ".venv" / "bench"

_SERVERS: Final = "benchmarks.sidebyside.servers"
_CLIENTS: Final = "benchmarks.sidebyside.clients"


@dataclass(frozen=True)
class Peer:
    """A server or a client.

    Attributes:
        name: on the command line.
        label: in tables.
        program: module and arguments.
        packages: what it is made of, first what its version is.
        environment: its directory below ``ENVIRONMENTS``; None for the project's own.
        anywhere: whether it may run in the project's environment while it has none of its own.
        uvloop: whether it has an event loop, which then is uvloop's.
    """

    name: str
    label: str
    program: tuple[str, ...]
    packages: tuple[str, ...]
    environment: str | None = None
    anywhere: bool = True
    uvloop: bool = True

    def command(self) -> list[str]:
        """Return how to start it."""
        return [str(self._python()), "-u", "-m", *self.program]

    def versions(self) -> dict[str, str] | None:
        """Return the version of each package, or None where it cannot run."""
        python = self._python()
        if python is None:
            return None
        read = "import importlib.metadata as m, json, sys; "
        show = "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
        done = subprocess.run(
            [python, "-c", read + show, *self.packages], capture_output=True, check=False
        )
        if done.returncode != 0:
            return None
        versions: dict[str, str] = json.loads(done.stdout)
        return versions

    def _python(self) -> Path | None:
        if self.environment is not None:
            python = ENVIRONMENTS / self.environment / "bin" / "python"
            if python.exists():
                return python
        return Path(sys.executable) if self.anywhere else None


def _serve(http: str) -> tuple[str, ...]:
    app = "benchmarks.sidebyside.app:app"
    return ("blazerpc.cli", "serve", app, "--port", "0", "--no-access-log", "--http", http)


_BLAZERPC: Final = ("blazerpc", "grpclib", "protobuf", "uvloop")
_GRPCIO: Final = ("grpcio", "protobuf")

SERVERS: Final = (
    Peer("blazerpc", "BlazeRPC", _serve("blaze"), _BLAZERPC),
    Peer("blazerpc-h2", "BlazeRPC, http=h2", _serve("h2"), (*_BLAZERPC, "h2")),
    Peer(
        "grpcio-aio",
        "grpcio.aio",
        (f"{_SERVERS}.grpcio_aio",),
        (*_GRPCIO, "uvloop"),
        environment="grpcio",
    ),
    Peer(
        "grpcio-threads",
        "grpcio, 4 threads",
        (f"{_SERVERS}.grpcio_threads",),
        _GRPCIO,
        environment="grpcio",
        uvloop=False,
    ),
    Peer(
        "grpclib",
        "grpclib",
        (f"{_SERVERS}.grpclib_stock",),
        ("grpclib", "h2", "protobuf", "uvloop"),
        environment="grpclib",
    ),
    Peer(
        "connectrpc",
        "connectrpc on Hypercorn",
        (f"{_SERVERS}.connect_hypercorn",),
        ("connectrpc", "hypercorn", "h2", "protobuf", "uvloop"),
        environment="connectrpc",
    ),
    Peer(
        "blazerpc-2.2.1",
        "BlazeRPC 2.2.1",
        (f"{_SERVERS}.blazerpc_2",),
        ("blazerpc", "grpclib", "h2", "betterproto", "uvloop"),
        environment="blazerpc-2.2.1",
        anywhere=False,
    ),
)

CLIENTS: Final = (
    Peer("blazerpc", "BlazeRPC", (f"{_CLIENTS}.blazerpc_generated", "--http", "blaze"), _BLAZERPC),
    Peer(
        "blazerpc-h2",
        "BlazeRPC, http=h2",
        (f"{_CLIENTS}.blazerpc_generated", "--http", "h2"),
        (*_BLAZERPC, "h2"),
    ),
    Peer(
        "grpcio-aio",
        "grpcio.aio",
        (f"{_CLIENTS}.grpcio_aio",),
        (*_GRPCIO, "uvloop"),
        environment="grpcio",
    ),
    Peer(
        "grpclib",
        "grpclib with betterproto",
        (f"{_CLIENTS}.betterproto_grpclib",),
        ("grpclib", "h2", "betterproto", "uvloop"),
        environment="grpclib",
    ),
)

#: Whose server the clients call: nobody's of those compared as asyncio clients.
CALLED: Final = SERVERS[3]

#: What the figures of all others are divided by.
REFERENCE: Final = "grpcio.aio"

#: What is not a peer when the best of them is looked for.
OURS: Final = ("BlazeRPC", "BlazeRPC, http=h2")
