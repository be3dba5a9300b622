"""Models that behave, that fail, and that take their time."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import numpy.typing as npt
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, Tensor
from blazerpc.server import ExceptionMiddleware, LoggingMiddleware

app = BlazeApp(
    "models", middleware=[LoggingMiddleware(), ExceptionMiddleware({LookupError: Status.NOT_FOUND})]
)

Matrix = Annotated[npt.NDArray[np.float32], Tensor("batch", 4)]
Vector = Annotated[npt.NDArray[np.float32], Tensor("batch")]


@app.model("greet")
def greet(name: str, times: int) -> str:
    return name * times


@app.model("sum-rows")
def sum_rows(x: Matrix, weights: Vector) -> Vector:
    rows: npt.NDArray[np.float32] = x.sum(axis=1) * weights
    return rows


@app.model("fail")
async def fail(how: str) -> int:
    match how:
        case "raise":
            raise RuntimeError("the secret of the model")
        case "lookup":
            raise KeyError("no such user")
        case "grpc":
            raise GRPCError(Status.FAILED_PRECONDITION, "warm up first")
        case "type":
            return "the secret of the model"  # type: ignore[return-value]  # what is tested
        case "range":
            return 1 << 63
        case "exit":
            sys.exit("the secret of the model")
        case "cancel":
            raise asyncio.CancelledError
    return 0


@app.model("fail-sync")
def fail_sync(how: str) -> int:
    match how:
        case "raise":
            raise RuntimeError("the secret of the model")
        case "stop":
            raise StopIteration
        case "exit":
            sys.exit("the secret of the model")
        case "interrupt":
            raise KeyboardInterrupt
    return 0


@app.model("wrong-array")
def wrong_array(how: str) -> Matrix:
    match how:
        case "dtype":
            wrong: Any = np.zeros((2, 4), np.float64)
            return cast(Matrix, wrong)
        case "shape":
            return np.zeros((2, 5), np.float32)
        case "rank":
            return np.zeros(4, np.float32)
        case "list":
            return [[0.0] * 4]  # type: ignore[return-value]  # what is tested
    return np.zeros((2, 4), np.float32)


@app.model("wrong-batch")
def wrong_batch(x: Matrix) -> Vector:
    return np.zeros(len(x) + 1, np.float32)


@app.model("count")
async def count(to: int, fail_at: int) -> AsyncIterator[int]:
    for number in range(to):
        if number == fail_at:
            raise RuntimeError("the secret of the model")
        yield number


@app.model("count-sync")
def count_sync(to: int, fail_at: int) -> Iterator[int]:
    for number in range(to):
        if number == fail_at:
            raise RuntimeError("the secret of the model")
        yield number


@app.model("bare-stream", streaming=True)
def bare_stream(text: str) -> str:  # type: ignore[misc]  # a bare type on a generator is allowed
    yield from text


@app.model("hold")
async def hold(until: str) -> str:
    """Wait until a file of that name exists."""
    print("holding", file=sys.stderr, flush=True)
    while not Path(until).exists():
        await asyncio.sleep(0.01)
    return "released"


@app.model("hold-sync")
def hold_sync(until: str) -> str:
    """Wait likewise, and keep a thread busy with it."""
    print("holding", file=sys.stderr, flush=True)
    while not Path(until).exists():
        time.sleep(0.01)
    return "released"


@app.model("stuck")
def stuck(forever: bool) -> str:
    print("holding", file=sys.stderr, flush=True)
    if forever:
        threading.Event().wait()
    return "never"


@app.model("defaults")
def defaults(
    text: str,
    top_k: int = 3,
    temperature: np.float64 = np.float64(0.5),  # noqa: B008 - a scalar does not change
    bias: float | None = None,
    limit: int | None = 7,
    tags: list[str] = [],  # noqa: B006 - what is tested
    raw: bytes = b"\x00",
    x: Vector | None = None,
) -> str:
    """Show what arrived."""
    return repr((text, top_k, float(temperature), bias, limit, tags, raw, x))


@app.model("greet", version="2")
def greet_in_turn(name: str, others: list[str]) -> str:
    return " ".join([name, *others])
