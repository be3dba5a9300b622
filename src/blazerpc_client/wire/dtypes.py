"""NumPy dtype <-> its name on the wire."""

from __future__ import annotations

from typing import Any

import numpy as np

from blazerpc_client.wire.errors import WireError

#: NumPy scalar type to its name in ``TensorProto.dtype``: protobuf's name where protobuf has the
#: type, NumPy's name where it has not.
DTYPE_MAP: dict[type[np.generic], str] = {
    np.float32: "float",
    np.float64: "double",
    np.int32: "int32",
    np.int64: "int64",
    np.uint32: "uint32",
    np.uint64: "uint64",
    np.bool_: "bool",
    np.int8: "int8",
    np.int16: "int16",
    np.uint8: "uint8",
    np.uint16: "uint16",
    np.float16: "float16",
    np.complex64: "complex64",
    np.complex128: "complex128",
    np.str_: "string",
    np.bytes_: "bytes",
}

try:
    import ml_dtypes
except ImportError:  # bfloat16 arrays cannot exist without the package that defines them
    pass
else:
    DTYPE_MAP[ml_dtypes.bfloat16] = "bfloat16"

_NAME_OF_DTYPE: dict[np.dtype[Any], str] = {np.dtype(t): name for t, name in DTYPE_MAP.items()}
_DTYPE_OF_NAME: dict[str, np.dtype[Any]] = {
    **{dtype.name: dtype for dtype in _NAME_OF_DTYPE if dtype.kind not in "US"},
    **{name: dtype for dtype, name in _NAME_OF_DTYPE.items()},
}


def wire_name(dtype: np.dtype[Any]) -> str:
    """Return the name of ``dtype`` on the wire, whatever its byte order and item size.

    Raises:
        WireError: for a dtype that has no place on the wire (objects, dates, records).
    """
    if dtype.kind == "U":
        return "string"
    if dtype.kind == "S":
        return "bytes"
    # Only of dtypes that have a byte order: NumPy's newer kinds have none, and raise.
    name = _NAME_OF_DTYPE.get(dtype if dtype.isnative else dtype.newbyteorder("="))
    if name is None:
        raise WireError(
            f"unsupported dtype {dtype}; one of {', '.join(supported_dtypes())} would do"
        )
    return name


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the dtype that ``name`` stands for, in the wire's spelling or NumPy's own.

    Raises:
        WireError: for a name that is not known.
    """
    dtype = _DTYPE_OF_NAME.get(name)
    if dtype is None:
        # The name comes from the peer: quote it, and no more of it than helps.
        raise WireError(f"unknown dtype {name[:40]!r}")
    return dtype


def numpy_name(dtype: np.dtype[Any]) -> str:
    """Return the name a reader of NumPy code knows: ``float32``, ``str``."""
    return {"U": "str", "S": "bytes"}.get(dtype.kind, dtype.name)


def supported_dtypes() -> list[str]:
    """Return every supported dtype by its NumPy name."""
    return [numpy_name(dtype) for dtype in _NAME_OF_DTYPE]
