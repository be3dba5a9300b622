"""Arrays that go to frameworks and come back."""

from __future__ import annotations

import ml_dtypes
import numpy as np

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)

#: What every framework has.
COMMON_DTYPES: list[type[np.generic]] = [
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
]

#: What PyTorch and TensorFlow have.
DTYPES = [*COMMON_DTYPES, np.complex64, np.complex128, ml_dtypes.bfloat16]
