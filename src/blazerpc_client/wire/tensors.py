"""ndarray <-> (shape, dtype, bytes), and the check of an array against its declared type."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blazerpc_client.wire.dtypes import dtype_of, numpy_name, wire_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import Bytes

#: The sizes that symbolic dimensions have in one call, filled as its tensors are seen.
Dims = dict[str, int]

#: NumPy's own limit (NPY_MAXDIMS); a longer shape is refused before it is looked at.
MAX_RANK: Final = 64

#: The largest size that NumPy counts to.
MAX_SIZE: Final = 2**63 - 1

# NumPy gives every text of an array the room of the longest: four bytes a character.
_FREE_ROOM: Final = 16 << 20
_ROOM_PER_BYTE: Final = 64

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """The declared type of a tensor.

    Attributes:
        dtype: of the elements; item size and byte order do not matter.
        shape: one entry a dimension: a fixed size, or the name of a symbolic one. A name that is
            used twice in one call stands for one size.
    """

    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{numpy_name(self.dtype)} {shape_text(self.shape)}"

    def check(self, array: npt.NDArray[Any], dims: Dims) -> None:
        """Check dtype, rank and sizes, and bind the symbolic dimensions in ``dims``.

        Raises:
            WireError: saying what was expected and what came.
        """
        if array.dtype != self.dtype and wire_name(array.dtype) != wire_name(self.dtype):
            raise WireError(
                f"expected dtype {numpy_name(self.dtype)}, got {numpy_name(array.dtype)}"
            )
        shape = array.shape
        if len(shape) != len(self.shape):
            raise WireError(f"expected shape {shape_text(self.shape)}, got {shape_text(shape)}")
        for declared, size in zip(self.shape, shape, strict=True):
            if isinstance(declared, int):
                if declared != size:
                    raise WireError(
                        f"expected shape {shape_text(self.shape)}, got {shape_text(shape)}"
                    )
            elif dims.setdefault(declared, size) != size:
                raise WireError(
                    f"dimension {declared!r} is {size} here, {dims[declared]} earlier in the call"
                )


def shape_text(shape: Sequence[int | str]) -> str:
    """Return a shape as one writes it: ``(batch, 64)``, ``(4,)``."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def encode(array: npt.NDArray[Any]) -> tuple[tuple[int, ...], str, bytes]:
    """Return the parts of a ``TensorProto``: shape, dtype name, data in C order, little-endian.

    Raises:
        WireError: for a dtype that has no place on the wire.
    """
    name = wire_name(array.dtype)
    if isinstance(array, np.ma.MaskedArray):
        raise WireError("a masked array: what lies under its mask would be sent as values")
    if array.dtype.kind in "US":
        return array.shape, name, _encode_elements(array)
    # newbyteorder("<") equals the native dtype on a little-endian machine: no copy there.
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return array.shape, name, little.tobytes()


def decode(shape: Sequence[int], dtype_name: str, data: Bytes) -> npt.NDArray[Any]:
    """Return the array that the parts of a ``TensorProto`` describe; numeric ones share ``data``.

    The result is read-only, since it is a view of the received bytes. Nothing is allocated for a
    size that the data does not have.

    Raises:
        WireError: for an unknown dtype, an impossible shape, or data of another length.
    """
    dtype = dtype_of(dtype_name)
    if len(shape) > MAX_RANK:
        raise WireError(f"a tensor has at most {MAX_RANK} dimensions, got {len(shape)}")
    if any(size < 0 for size in shape):
        raise WireError(f"negative dimension in shape {shape_text(shape)}")
    count = math.prod(shape)
    if dtype.kind in "US":
        elements = _decode_elements(count, bytes(data), text=dtype.kind == "U")
        flat: npt.NDArray[Any] = np.array(
            elements, dtype=np.str_ if dtype.kind == "U" else np.bytes_
        )
    else:
        if count * dtype.itemsize != len(data):
            raise WireError(
                f"shape {shape_text(shape)} of {numpy_name(dtype)} takes "
                f"{count * dtype.itemsize} bytes, got {len(data)}"
            )
        if dtype.kind == "b" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
            raise WireError("a bool tensor holds only the bytes 0 and 1")
        flat = np.frombuffer(data, dtype.newbyteorder("<"))
        if not flat.flags.aligned:  # nobody's fault; some frameworks take only those that are
            flat = flat.copy()
            flat.flags.writeable = False
    try:
        return flat.reshape(shape)
    except ValueError:  # sizes like (0, 2**62): no data, yet more than NumPy can index
        raise WireError(f"shape {shape_text(shape)} is too large") from None


def _encode_elements(array: npt.NDArray[Any]) -> bytes:
    parts: list[bytes] = []
    for index, element in enumerate(array.reshape(-1).tolist()):
        try:
            raw = element.encode() if isinstance(element, str) else bytes(element)
        except UnicodeEncodeError:
            raise WireError(f"element {index} is no valid Unicode text") from None
        parts += (_LENGTH.pack(len(raw)), raw)
    return b"".join(parts)


def split_elements(count: int, data: bytes) -> list[bytes]:
    """Return the elements of a string or bytes tensor.

    Raises:
        WireError: when the data holds another number of them, or ends within one.
    """
    elements: list[bytes] = []
    position = 0
    while position < len(data):
        if position + 4 > len(data):
            raise WireError("data ends inside the length of an element")
        start = position + 4
        position = start + _LENGTH.unpack_from(data, position)[0]
        if position > len(data):
            raise WireError("data ends inside an element")
        elements.append(data[start:position])
    if len(elements) != count:
        raise WireError(f"the shape takes {count} elements, the data holds {len(elements)}")
    return elements


def _decode_elements(count: int, data: bytes, *, text: bool) -> list[str] | list[bytes]:
    elements = split_elements(count, data)
    room = len(elements) * max(map(len, elements), default=0) * (4 if text else 1)
    if room > _FREE_ROOM + _ROOM_PER_BYTE * len(data):
        raise WireError(
            f"as a NumPy array, {len(elements)} elements as wide as the longest take {room} bytes"
        )
    if any(element.endswith(b"\0") for element in elements):
        # NumPy pads its fixed-width elements with NULs and would drop these without a word.
        raise WireError("NumPy cannot hold an element that ends in a NUL")
    if not text:
        return elements
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise WireError("an element is not valid UTF-8") from None
