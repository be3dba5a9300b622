"""Models that give back what they get, one for each type that can be registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import GenericAlias, NoneType
from typing import Any

import numpy as np

from blazerpc import BlazeApp, TensorInput
from blazerpc.types import DTYPE_MAP

app = BlazeApp("echo")

SCALARS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "bytes": bytes,
    "np_float32": np.float32,
    "np_float64": np.float64,
    "np_int32": np.int32,
    "np_int64": np.int64,
    "np_uint32": np.uint32,
    "np_uint64": np.uint64,
    "np_bool": np.bool_,
}
DTYPES: dict[str, type[np.generic]] = {name: dtype for dtype, name in DTYPE_MAP.items()}


def _echo(annotation: Any, *expected: type) -> Callable[..., object]:
    def model(value: Any) -> Any:
        # The function gets what its annotation says, not merely something that prints alike.
        assert type(value) in expected, type(value)
        return value

    model.__annotations__ = {"value": annotation, "return": annotation}
    return model


def _stream(annotation: Any) -> Callable[..., object]:
    def model(value: Any, count: int) -> Iterator[Any]:
        for _ in range(count):
            yield value

    model.__annotations__ = {"value": annotation, "count": int, "return": Iterator[annotation]}
    return model


for name, scalar in SCALARS.items():
    app.model(name)(_echo(scalar, scalar))
    app.model(f"list_{name}")(_echo(GenericAlias(list, scalar), list))
    app.model(f"stream_{name}")(_stream(scalar))
    app.model(f"optional_{name}")(_echo(scalar | None, scalar, NoneType))
for name, dtype in DTYPES.items():
    app.model(f"scalar_tensor_{name}")(_echo(TensorInput[dtype], np.ndarray))
    app.model(f"tensor_{name}")(_echo(TensorInput[dtype, "rows", "columns"], np.ndarray))
    app.model(f"optional_tensor_{name}")(
        _echo(TensorInput[dtype, "size"] | None, np.ndarray, NoneType)
    )
    app.model(f"stream_tensor_{name}")(_stream(TensorInput[dtype, "rows", "columns"]))
