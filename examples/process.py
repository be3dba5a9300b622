"""A server in a process of its own, as the demo and the repository's scripts need one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLContext

from grpclib.client import Channel
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

#: Seconds that a server has to come up, and to stop.
PATIENCE = 60


@contextmanager
def served(app: str, *options: str, ssl: SSLContext | None = None) -> Iterator[str]:
    """Serve ``app`` on a free port; give its address once it is healthy, and stop it at the end.

    Args:
        app: its import string.
        options: of ``blaze serve``.
        ssl: that it is asked for its health with; None where it has no TLS.

    Raises:
        RuntimeError: when the server does not come up, or does not stop cleanly.
    """
    arguments = ["serve", app, "--port", "0", "--no-access-log", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "blazerpc.cli", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        target = _announced(process)
        asyncio.run(_healthy(target, ssl))
        yield target
        process.send_signal(signal.SIGTERM)
        if process.wait(PATIENCE) != 0:
            raise RuntimeError(f"the server ended with exit code {process.returncode}")
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _announced(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="")
        if line.startswith("Serving on "):
            return line.split()[-1]
    raise RuntimeError(f"the server ended with exit code {process.wait()}")


async def _healthy(target: str, ssl: SSLContext | None) -> None:
    """Wait until the server's health service says SERVING."""
    host, _, port = target.rpartition(":")
    async with (
        asyncio.timeout(PATIENCE),
        Channel(host, int(port), ssl=ssl) as channel,
        HealthStub(channel).Watch.open() as stream,
    ):
        await stream.send_message(HealthCheckRequest(), end=True)
        async for response in stream:
            if response.status == HealthCheckResponse.SERVING:
                await stream.cancel()
                return
