"""The models that the side-by-side benchmarks call. Every peer's messages come from this schema."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt

from blazerpc import BlazeApp, TensorInput, TensorOutput

app = BlazeApp("side by side")

#: What ``tensor-out`` gives a part of.
VALUES = np.ones(1 << 20, np.float32)


@app.model("echo")
async def echo(value: str) -> str:
    """Give back a text."""
    return value


@app.model("tensor-in")
async def tensor_in(value: TensorInput[npt.NDArray[np.float32], 1, 224, 224, 3]) -> int:
    """Count the elements of a picture."""
    return value.size


@app.model("tensor-out")
async def tensor_out(count: int) -> TensorOutput[npt.NDArray[np.float32], "n"]:
    """Give so many numbers."""
    return VALUES[:count]


@app.model("stream")
async def stream(value: str, count: int) -> AsyncIterator[str]:
    """Give back a text so many times."""
    for _ in range(count):
        yield value
