"""A model for each kind of tensor of the Open Inference Protocol, and some that it cannot have."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

from blazerpc import BlazeApp, Context, Tensor
from blazerpc.server import LoggingMiddleware

app = BlazeApp("open", middleware=[LoggingMiddleware()])

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 2)]
Bfloat16s = Annotated[npt.NDArray[ml_dtypes.bfloat16], Tensor("n")]


@dataclass
class Point:
    """A message."""

    x: float


def _register(kind: type[np.generic]) -> None:
    array = Annotated[npt.NDArray[kind], Tensor("n", "m")]  # type: ignore[valid-type]  # at run time

    def back(x: object) -> object:
        return x

    back.__annotations__ = {"x": array, "return": array}
    app.model(f"back-{kind.__name__.rstrip('_')}")(back)


for kind in (
    np.bool_,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.float16,
    np.float32,
    np.float64,
    ml_dtypes.bfloat16,
    np.str_,
    np.bytes_,
):
    _register(kind)


@app.model("scalars")
def scalars(text: str, raw: bytes, number: int, small: np.int32, ratio: float, yes: bool) -> str:
    return repr((text, raw, number, type(small).__name__, int(small), ratio, yes))


@app.model("lists")
def lists(texts: list[str], numbers: list[np.float64]) -> list[str]:
    return [f"{text} {number}" for text, number in zip(texts, numbers, strict=True)]


@app.model("raws")
def raws(values: list[bytes]) -> list[bytes]:
    return values[::-1]


@app.model("defaults")
def defaults(text: str = "none", mode: Literal["a", "b"] = "a", bias: float | None = None) -> str:
    return repr((text, mode, bias))


@app.model("maybe")
def maybe(number: int) -> int | None:
    return number or None


@app.model("agree")
def agree(
    a: Annotated[npt.NDArray[np.float32], Tensor("n")],
    b: Annotated[npt.NDArray[np.float32], Tensor("n")],
) -> Annotated[npt.NDArray[np.float32], Tensor("n")]:
    return a + b


@app.model("add", max_batch_size=64, batch_timeout_ms=1000)
async def add(x: Rows) -> Rows:
    """Add the number of rows in the batch to each element."""
    await asyncio.sleep(0.02)
    return x + np.float32(len(x))


@app.model("greet")
def greet(name: str) -> str:
    return f"hello {name}"


@app.model("greet", version="2")
def greet_politely(name: str) -> str:
    return f"good day {name}"


@app.model("only", version="7")
def only(name: str) -> str:
    return name


@app.model("count")
async def count(to: int, fail_at: int = -1) -> AsyncIterator[int]:
    for number in range(to):
        if number == fail_at:
            raise RuntimeError("the secret of the model")
        yield number


@app.model("forever")
async def forever(name: str) -> AsyncIterator[str]:
    try:
        while True:
            yield name
            await asyncio.sleep(0.001)
    finally:
        print(f"left {name}", file=sys.stderr, flush=True)


@app.model("growing")
def growing(to: int) -> Iterator[Annotated[npt.NDArray[np.int64], Tensor("size")]]:
    for size in range(to):
        yield np.arange(size)


@app.model("hold", max_concurrency=1, max_queue_size=0)
async def hold(until: str) -> str:
    """Wait until a file of that name exists."""
    print("holding", file=sys.stderr, flush=True)
    while not Path(until).exists():
        await asyncio.sleep(0.01)
    return "released"


app.model("hold-in-turn", max_concurrency=1)(hold)


@app.model("fail")
def fail(how: str) -> int:
    if how == "type":
        return "the secret of the model"  # type: ignore[return-value]  # what is tested
    raise RuntimeError("the secret of the model")


@app.model("who")
def who(name: str, context: Context) -> str:
    context.set_trailing_metadata("x-answer", name)
    return f"{context.metadata['x-caller']!r} calls {context.method}"


@app.model("nested")
def nested(point: Point) -> float:
    return point.x


@app.model("table")
def table(x: int) -> dict[str, int]:
    return {"x": x}


@app.model("when")
def when(at: datetime) -> int:
    return at.year


@app.model("wave")
def wave(
    x: Annotated[npt.NDArray[np.complex64], Tensor("n")],
) -> Annotated[npt.NDArray[np.complex64], Tensor("n")]:
    return x
