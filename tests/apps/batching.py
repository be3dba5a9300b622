"""Models that are called for many requests at one time, and that count their calls."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, Tensor

app = BlazeApp("batching")

Matrix = Annotated[npt.NDArray[np.float32], Tensor("batch", 2)]
Wide = Annotated[npt.NDArray[np.float32], Tensor("batch", "width")]
Vector = Annotated[npt.NDArray[np.float32], Tensor("batch")]

_calls: Counter[str] = Counter()
_lock = threading.Lock()


def _called(model: str) -> None:
    with _lock:
        _calls[model] += 1


@app.model("calls")
def calls(model: str) -> int:
    """Say how often a model's code was called."""
    with _lock:
        return _calls[model]


@app.model("double")
def double(x: Matrix) -> Matrix:
    _called("double")
    time.sleep(0.005)
    return 2 * x


@app.model("sums")
def sums(x: Wide) -> Vector:
    _called("sums")
    time.sleep(0.005)
    totals: npt.NDArray[np.float32] = x.sum(axis=1)
    return totals


@app.model("lengths", batch=True)
def lengths(texts: list[str], scale: list[int]) -> list[int | Exception]:
    """Give the length of each text; a text may be an error of its own, or everybody's."""
    _called("lengths")
    time.sleep(0.005)
    if "poison" in texts:
        raise ValueError("the secret of the model")
    if "short" in texts:
        return [0] * (len(texts) - 1)
    own: dict[str, Any] = {
        "bad": ValueError("the secret of the model"),
        "missing": GRPCError(Status.NOT_FOUND, "no such text"),
        "wrong": "not a number",
    }
    return [own.get(text, len(text) * by) for text, by in zip(texts, scale, strict=True)]


@app.model("isolated", batch=True, isolate_failures=True)
async def isolated(texts: list[str]) -> list[int]:
    _called("isolated")
    if "poison" in texts:
        raise ValueError("the secret of the model")
    return [len(text) for text in texts]


@app.model("isolated-rows", isolate_failures=True)
def isolated_rows(x: Matrix) -> Matrix:
    _called("isolated-rows")
    time.sleep(0.005)
    if np.isnan(x).any():
        raise ValueError("the secret of the model")
    return 2 * x


@app.model("lossy")
def lossy(x: Matrix) -> Matrix:
    """Lose a row when there are several."""
    _called("lossy")
    time.sleep(0.005)
    return x[:-1] if len(x) > 1 else x


@app.model("slow")
def slow(x: Matrix) -> Matrix:
    _called("slow")
    time.sleep(1)
    return x
