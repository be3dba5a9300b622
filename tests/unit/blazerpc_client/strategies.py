"""Any array of any dtype that travels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blazerpc_client.wire.dtypes import DTYPE_MAP

# No deadlines: a busy machine is not a fault.
many = settings(max_examples=100, deadline=None)
some = settings(max_examples=20, deadline=None)

DTYPES: dict[str, type[np.generic]] = {name: dtype for dtype, name in DTYPE_MAP.items()}

unicode_text = st.text(st.characters(exclude_categories=["Cs"]))
shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def arrays(
    dtype: type[np.generic], shape: st.SearchStrategy[tuple[int, ...]] = shapes
) -> st.SearchStrategy[npt.NDArray[Any]]:
    match np.dtype(dtype).kind:
        case "U":
            # NumPy drops trailing NULs itself: no array can hold such an element.
            elements: Any = unicode_text.map(lambda text: text[:6].rstrip("\0"))
            return hnp.arrays(np.dtype("U6"), shape, elements=elements)
        case "S":
            return hnp.arrays(np.dtype("S6"), shape)
        case "V":  # bfloat16, which hypothesis does not know
            return hnp.arrays(np.float32, shape).map(lambda array: array.astype(dtype))
    return hnp.arrays(dtype, shape)


def assert_same(left: object, right: npt.NDArray[Any]) -> None:
    """Check that an array is what another one is: kind, shape, and each bit of each element."""
    assert isinstance(left, np.ndarray)
    assert left.shape == right.shape
    if right.dtype.kind in "US":
        assert left.dtype.kind == right.dtype.kind
        assert left.tolist() == right.tolist()
    else:
        assert left.dtype == right.dtype.newbyteorder("=")
        assert left.tobytes() == right.astype(left.dtype).tobytes()
