"""Models that know who calls: by a certificate, else by a token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import numpy.typing as npt

from blazerpc import BlazeApp, Context, TensorInput, TensorOutput
from blazerpc.server import AuthMiddleware, Caller, bearer_token

by_token = bearer_token({"correct-horse": "bob"})


def decide(caller: Caller) -> str | None:
    return caller.common_name or by_token(caller)


app = BlazeApp("secured", middleware=[AuthMiddleware(decide)])


@app.model("whoami")
def whoami(ctx: Context, greeting: str = "") -> str:
    """Tell who calls."""
    return f"{greeting}{ctx.principal}"


@app.model("count")
async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number
        await asyncio.sleep(0)


@app.model("negate")
def negate(
    x: TensorInput[npt.NDArray[np.float32], "n"],
) -> TensorOutput[npt.NDArray[np.float32], "n"]:
    return -x
