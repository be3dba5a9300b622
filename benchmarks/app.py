"""The models that the benchmarks call: each gives back what it gets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blazerpc import BlazeApp, TensorInput, TensorOutput

app = BlazeApp("benchmarks")


@app.model("text")
async def text(value: str) -> str:
    """Give back a text."""
    return value


@app.model("tensor")
async def tensor(
    value: TensorInput[npt.NDArray[np.float32], "size"],
) -> TensorOutput[npt.NDArray[np.float32], "size"]:
    """Give back an array."""
    return value
