"""Models that tell where they run, and how they end: for engines."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, Context, Depends, Resources, TensorInput, TensorOutput

SMALL = Resources(cpus=0.1)

app = BlazeApp("placed")


class UnsendableError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("unsendable")
        self.lock = threading.Lock()


def _noted(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{line}\n")


@app.model("where", resources=Resources(cpus=0.1, replicas=2, max_ongoing=8), idempotent=True)
async def where(seconds: float) -> int:
    """Return the process, after a while."""
    await asyncio.sleep(seconds)
    return os.getpid()


@app.model("twice", resources=SMALL)
def twice(x: TensorInput[np.float32, "batch", "n"]) -> TensorOutput[np.float32, "batch", "n"]:
    """Return the double."""
    return x * 2


@app.model("each", batch=True, resources=SMALL, batch_timeout_ms=50.0)
def each(x: list[int]) -> list[int | Exception]:
    """Return each number, but for negative ones."""
    return [ValueError(f"{number} is negative") if number < 0 else number for number in x]


@app.model("each-of-tuple", batch=True, resources=SMALL, batch_timeout_ms=50.0)
def each_of_tuple(x: list[int]) -> list[int | Exception]:
    """Return the same, as a tuple, of exceptions that cannot be pickled."""
    answers = (UnsendableError() if number < 0 else number for number in x)
    return cast(list[int | Exception], tuple(answers))


@app.model("fails", resources=SMALL)
def fails(how: str) -> int:
    """Raise."""
    if how == "status":
        raise GRPCError(Status.FAILED_PRECONDITION, "not today")
    if how == "unsendable":
        raise UnsendableError
    raise ValueError("a secret")


@app.model("counted", resources=SMALL)
def counted(count: int, size: int, path: str) -> Iterator[bytes]:
    """Stream numbers of ``size`` bytes, and note in a file which were made, and the end."""
    try:
        for number in range(count):
            _noted(path, str(number))
            yield number.to_bytes(size)
    finally:
        _noted(path, "closed")


@app.model("breaks", resources=SMALL)
def breaks(count: int, inside: bool) -> Iterator[int]:
    """Stream numbers, and fail, of itself or with a status."""
    yield from range(count)
    if inside:
        raise ValueError("a secret")
    raise GRPCError(Status.DATA_LOSS, "no more")


@app.model("stuck", resources=Resources(cpus=0.1, max_ongoing=1))
async def stuck(path: str, wait: bool) -> str:
    """Wait for ever, and note in a file that it was cancelled; or do not wait."""
    if wait:
        _noted(path, "begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            _noted(path, "cancelled")
            raise
    return "free"


#: Few processes, for those who start it again and again.
small = BlazeApp("small")
small.model("where", resources=Resources(cpus=0.1, max_ongoing=8))(where)


streams = BlazeApp("streams")
streams.model("counted", resources=SMALL)(counted)


#: A replica for each of two nodes.
pair = BlazeApp("pair")
pair.model("where", resources=Resources(cpus=1.0, replicas=2, max_ongoing=8))(where)

broken = BlazeApp("broken")


@broken.model("broken", resources=SMALL)
class Broken:
    """Cannot be built."""

    def __init__(self) -> None:
        raise FileNotFoundError("no such weights")

    def __call__(self, x: int) -> int:
        """Return it."""
        return x


slow = BlazeApp("slow")


@slow.model("slow", resources=SMALL)
class Slow:
    """Takes its time to be built."""

    def __init__(self) -> None:
        time.sleep(600)

    def __call__(self, x: int) -> int:
        """Return it."""
        return x


greedy = BlazeApp("greedy")


@greedy.model("greedy", resources=Resources(cpus=0.1, gpus=64))
def unplaced(x: int) -> int:
    """Need more than a machine has."""
    return x


bound = BlazeApp("bound")


@bound.model("bound", resources=SMALL)
def tied(x: int, ctx: Context) -> str:
    """Return the rpc's path."""
    return f"{ctx.method} {x}"


def _process() -> int:
    return os.getpid()


@app.model("locked", resources=SMALL)
def locked(x: int, lock: object = Depends(threading.Lock)) -> int:
    """Depend on what cannot leave its process."""
    return x


@app.model("given", resources=SMALL)
def given(x: int, door: int = Depends(_process)) -> list[int]:
    """Return the processes of the dependency and of the model."""
    return [x, door, os.getpid()]
