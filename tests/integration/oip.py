"""Tensors of Triton's client, and the app that it calls."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import tritonclient.grpc as triton
from tritonclient.utils import triton_to_np_dtype

APP = "tests.apps.open_inference:app"


def tensor(name: str, value: object, datatype: str = "") -> triton.InferInput:
    """Return an input of Triton's client with raw contents."""
    if isinstance(value, str | bytes):
        array = np.array([value], object)
    elif isinstance(value, list) and value and isinstance(value[0], str | bytes):
        array = np.array(value, object)
    elif isinstance(value, np.ndarray):
        array = value
    else:
        array = np.array(value if isinstance(value, list) else [value])
    datatype = datatype or triton.np_to_triton_dtype(array.dtype)
    if datatype != "BYTES":
        array = array.astype(triton_to_np_dtype(datatype), copy=False)
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array)
    return made


def inputs(**values: object) -> list[triton.InferInput]:
    return [tensor(name, value) for name, value in values.items()]


def result(answer: triton.InferResult) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = answer.as_numpy("result")
    return array


#: An array of each element type, which the model of its name gives back.
ARRAYS = {
    "bool": np.array([[True, False]]),
    "uint8": np.array([[0, 255]], np.uint8),
    "uint16": np.array([[0, 65535]], np.uint16),
    "uint32": np.array([[0, 2**32 - 1]], np.uint32),
    "uint64": np.array([[0, 2**64 - 1]], np.uint64),
    "int8": np.array([[-128, 127]], np.int8),
    "int16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "int32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "int64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "float16": np.array([[-0.5, 65504.0]], np.float16),
    "float32": np.array([[-0.0, np.inf]], np.float32),
    "float64": np.array([[1e300, np.nan]], np.float64),
    "bfloat16": np.array([[1.5, -2.0]], ml_dtypes.bfloat16),
    "str": np.array([["", "grüß"]], object),
    "bytes": np.array([[b"\x00\xff", b"a"]], object),
}
