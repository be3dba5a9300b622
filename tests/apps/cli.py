"""Models for what the command line can do beyond sending values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, Context, TensorInput, TensorOutput

app = BlazeApp("cli")


@app.model("fail")
def fail(status: str) -> str:
    """Fail with a status, or answer OK."""
    if Status[status] is not Status.OK:
        raise GRPCError(Status[status], f"it is {status}")
    return status


@app.model("tell")
def tell(text: str, ctx: Context) -> str:
    """Tell the token of the caller to everybody."""
    token = str(ctx.metadata["authorization"])
    ctx.set_trailing_metadata("x-token", token)
    ctx.set_trailing_metadata("x-raw-bin", b"\x00\xff")
    if text == "fail":
        raise GRPCError(Status.UNAUTHENTICATED, f"nobody knows {token}")
    return text


@app.model("hold")
async def hold(until: str) -> AsyncIterator[str]:
    """Give one item, and another when a file of that name exists."""
    yield "first"
    while not Path(until).exists():
        await asyncio.sleep(0.01)
    yield "second"


@app.model("brightness")
def brightness(
    images: TensorInput[npt.NDArray[np.float32], "batch", "height", "width", 3],
) -> TensorOutput[npt.NDArray[np.float32], "batch"]:
    """Average the pixels of each image."""
    means: npt.NDArray[np.float32] = images.mean(axis=(1, 2, 3))
    return means


@app.model("ramp")
async def ramp(
    count: int, size: int = 3
) -> AsyncIterator[TensorOutput[npt.NDArray[np.float32], "size"]]:
    """Stream arrays."""
    for number in range(count):
        yield np.full(size, number, np.float32)


@app.model("wide")
def wide(text: str = "\x1b[31m", top_k: int = 5) -> str:
    """Show \x1b[31mred."""
    return text


@app.model("greet")
def greet(name: str) -> str:
    """Greet somebody."""
    return f"hello {name}"


@app.model("greet", version="2")
def greet_all(names: list[str]) -> str:
    """Greet everybody."""
    return f"hello {', '.join(names)}"
