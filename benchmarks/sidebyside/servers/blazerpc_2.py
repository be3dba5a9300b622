"""The models of app.py on BlazeRPC 2.2.1, whose API these few lines are of."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import uvloop

from benchmarks.sidebyside.servers.life import announce
from blazerpc import BlazeApp, TensorInput, TensorOutput

VALUES = np.ones(1 << 20, np.float32)


async def echo(value: str) -> str:
    """Give back a text."""
    return value


async def tensor_in(value: Any) -> int:
    """Count the elements of a picture."""
    size: int = value.size
    return size


async def tensor_out(count: int) -> Any:
    """Give so many numbers."""
    return VALUES[:count]


async def stream(value: str, count: int) -> AsyncIterator[str]:
    """Give back a text so many times."""
    for _ in range(count):
        yield value


def app() -> Any:
    """Return the app; its annotations are what 2.2.1 reads, and no type checker of today."""
    tensor_in.__annotations__["value"] = TensorInput[np.float32, 1, 224, 224, 3]
    tensor_out.__annotations__["return"] = TensorOutput[np.float32, "n"]
    stream.__annotations__["return"] = str
    # Batches would keep a lone call waiting for 10 ms.
    app: Any = BlazeApp("side by side", enable_batching=False)
    app.model("echo")(echo)
    app.model("tensor-in")(tensor_in)
    app.model("tensor-out")(tensor_out)
    app.model("stream", streaming=True)(stream)
    return app


async def serve() -> None:
    """Serve until SIGTERM."""
    # 2.2.1 does not say which port it got, so it is given one that is free.
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serving = asyncio.ensure_future(app().serve("127.0.0.1", port))
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
        else:
            writer.close()
            announce(port)
            break
    await serving


if __name__ == "__main__":
    uvloop.run(serve())
