"""Rows of many requests in one call: put together along the first dimension, and split again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from blazerpc.exceptions import InferenceError

Arrays = Mapping[str, npt.NDArray[Any]]


def merged(requests: Sequence[Arrays]) -> Arrays:
    """Return the arrays of all requests as one array for each parameter.

    A lone request is passed on as it is. Like what a lone request gets, the arrays are read-only: a
    model that writes to its input would work in company and fail alone.

    Args:
        requests: of the same parameters, and shapes that differ in the first dimension only.
    """
    if len(requests) == 1:
        return requests[0]
    together: dict[str, npt.NDArray[Any]] = {}
    for name in requests[0]:
        array = np.concatenate([request[name] for request in requests])
        array.flags.writeable = False
        together[name] = array
    return together


def split(result: object, counts: Sequence[int], model: str) -> list[object]:
    """Return each request's rows of ``result``: views.

    Args:
        result: of the model.
        counts: rows of each request, in order.
        model: its name.

    Raises:
        InferenceError: when the rows do not add up.
    """
    if len(counts) == 1:
        return [result]  # whatever it is, its encoder checks it
    expected = sum(counts)
    if not isinstance(result, np.ndarray) or result.ndim == 0:
        got = type(result).__name__
    elif len(result) != expected:
        got = f"{len(result)} rows"
    else:
        ends = list(accumulate(counts))
        return [result[end - count : end] for end, count in zip(ends, counts, strict=True)]
    raise InferenceError(
        f"model {model!r} returned {got} for a batch of {expected} rows", model_name=model
    )
