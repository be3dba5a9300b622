"""A tensor's contents <-> values of a parameter or a result, decided once from its row.

Raw contents are what all is read from and written to: typed ones, which only small tensors have,
are made raw first.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from blazerpc.rows.base import Adapter
from blazerpc_client.wire import tensors
from blazerpc_client.wire.dtypes import dtype_of
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import Bytes
from blazerpc_client.wire.tensors import Dims, TensorSpec, shape_text, split_elements
from blazerpc_client.wire.values import TensorValue

BYTES: Final = "BYTES"

#: Name of a dtype on our wire to the protocol's, with the field of typed contents; "" for none.
#: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_grpc.md#tensor-data-types
DATATYPES: Final[dict[str, tuple[str, str]]] = {
    "bool": ("BOOL", "bool_contents"),
    "uint8": ("UINT8", "uint_contents"),
    "uint16": ("UINT16", "uint_contents"),
    "uint32": ("UINT32", "uint_contents"),
    "uint64": ("UINT64", "uint64_contents"),
    "int8": ("INT8", "int_contents"),
    "int16": ("INT16", "int_contents"),
    "int32": ("INT32", "int_contents"),
    "int64": ("INT64", "int64_contents"),
    "float16": ("FP16", ""),
    "float": ("FP32", "fp32_contents"),
    "double": ("FP64", "fp64_contents"),
    "bfloat16": ("BF16", ""),
    "string": (BYTES, "bytes_contents"),
    "bytes": (BYTES, "bytes_contents"),
}

_LENGTH: Final = struct.Struct("<I")


class TensorCodec(ABC):
    """Reads and writes the values that travel as one tensor.

    Args:
        dtype: its name on our wire, one of ``DATATYPES``.

    Attributes:
        dtype: likewise.
        datatype: the protocol's name for it.
        shape: as metadata has it: -1 for what is not fixed.
    """

    def __init__(self, dtype: str, shape: Sequence[int]) -> None:
        self.dtype = dtype
        datatype, self._typed = DATATYPES[dtype]
        self.datatype: str = datatype
        self.shape: tuple[int, ...] = tuple(shape)

    @abstractmethod
    def load(self, shape: Sequence[int], data: Bytes, dims: Dims) -> object:
        """Return the value that raw contents hold, or raise ``WireError``."""

    @abstractmethod
    def dump(self, value: object, dims: Dims) -> tuple[Sequence[int], bytes]:
        """Return shape and raw contents of a value, or raise ``WireError``."""

    def read(self, tensor: Any, raw: Bytes | None, dims: Dims) -> object:
        """Return the value of an ``InferInputTensor``.

        Args:
            tensor: of the request.
            raw: its raw contents; None when it has typed ones.
            dims: the call's symbolic dimensions.

        Raises:
            WireError: when it holds none.
        """
        if tensor.datatype != self.datatype:
            raise WireError(f"expected datatype {self.datatype}, got {tensor.datatype[:40]!r}")
        if raw is None:
            raw = self._raw(tensor.contents)
        elif tensor.HasField("contents"):
            raise WireError("it has typed and raw contents, and only one can be")
        return self.load(tensor.shape, raw, dims)

    def _raw(self, contents: Any) -> bytes:
        """Return typed contents as raw ones."""
        for field, _ in contents.ListFields():
            if field.name != self._typed:
                expected = f"in {self._typed}" if self._typed else "raw"
                raise WireError(f"contents of {self.datatype} are {expected}, not in {field.name}")
        if not self._typed:
            return b""
        values = getattr(contents, self._typed)
        if self.datatype == BYTES:
            return joined(values)
        dtype = dtype_of(self.dtype)
        if dtype.itemsize >= 4 or dtype.kind == "b":
            return np.array(values, dtype).tobytes()
        # These have no field of their own width.
        wide = np.array(values, np.int64)
        bounds = np.iinfo(dtype)
        if wide.size and not bounds.min <= wide.min() <= wide.max() <= bounds.max:
            raise WireError(f"a value is out of range for {self.datatype}")
        return wide.astype(dtype).tobytes()


class ArrayCodec(TensorCodec):
    """An array."""

    def __init__(self, dtype: str, spec: TensorSpec) -> None:
        super().__init__(dtype, [-1 if isinstance(size, str) else size for size in spec.shape])
        self._spec = spec
        self._value = TensorValue(spec)

    def load(self, shape: Sequence[int], data: Bytes, dims: Dims) -> object:
        array = tensors.decode(shape, self.dtype, data)
        self._spec.check(array, dims)
        return array

    def dump(self, value: object, dims: Dims) -> tuple[Sequence[int], bytes]:
        shape, _, data = tensors.encode(self._value.checked(value, dims))
        return shape, data


@dataclass(frozen=True, slots=True)
class Element:
    """What one element of a list is, or a scalar.

    Attributes:
        dtype: its name on our wire.
        check: returns what is sent, or raises ``WireError``.
        restrict: what came is checked with it, too; None when any value will do.
        adapt: makes what the function takes of a plain value; None when nothing has to.
    """

    dtype: str
    check: Callable[[object], object]
    restrict: Callable[[object], object] | None
    adapt: Adapter | None

    def load(self, value: object) -> object:
        """Return what the function gets, or raise ``WireError``."""
        if self.restrict is not None:
            value = self.restrict(value)
        return value if self.adapt is None else self.adapt(value)


class ListCodec(TensorCodec):
    """A list of elements, as a tensor of one dimension."""

    def __init__(self, element: Element, size: int = -1) -> None:
        super().__init__(element.dtype, [size])
        self._element = element

    def load(self, shape: Sequence[int], data: Bytes, dims: Dims) -> object:
        if len(shape) != 1 or self.shape[0] not in (-1, shape[0]):
            expected = "(n,)" if self.shape[0] == -1 else shape_text(self.shape)
            raise WireError(f"expected shape {expected}, got {shape_text(shape)}")
        loaded: list[object] = []
        try:
            for value in self._plain(shape, data):
                loaded.append(self._element.load(value))  # noqa: PERF401 - its length is the index
        except WireError as error:
            raise error.at(f"[{len(loaded)}]") from None
        return loaded

    def dump(self, value: object, dims: Dims) -> tuple[Sequence[int], bytes]:
        if not isinstance(value, list | tuple):
            raise WireError(f"expected list, got {type(value).__name__}")
        checked: list[Any] = []
        try:
            for item in value:
                checked.append(self._element.check(item))  # noqa: PERF401 - likewise
        except WireError as error:
            raise error.at(f"[{len(checked)}]") from None
        return (len(checked),), self._packed(checked)

    def _plain(self, shape: Sequence[int], data: Bytes) -> Sequence[object]:
        if self.datatype != BYTES:
            return cast(list[object], tensors.decode(shape, self.dtype, data).tolist())
        # Not as an array: NumPy drops the NULs at the end of its elements.
        elements = split_elements(shape[0], bytes(data))
        if self.dtype == "bytes":
            return elements
        try:
            return [element.decode() for element in elements]
        except UnicodeDecodeError:
            raise WireError("an element is not valid UTF-8") from None

    def _packed(self, values: Sequence[Any]) -> bytes:
        if self.dtype == "string":
            return joined([value.encode() for value in values])
        if self.dtype == "bytes":
            return joined(values)
        array: npt.NDArray[Any] = np.array(values, dtype_of(self.dtype).newbyteorder("<"))
        return array.tobytes()


class ScalarCodec(ListCodec):
    """One value, as a tensor of one element."""

    def __init__(self, element: Element) -> None:
        super().__init__(element, 1)

    def load(self, shape: Sequence[int], data: Bytes, dims: Dims) -> object:
        try:
            (value,) = cast(list[object], super().load(shape, data, dims))
        except WireError as error:
            raise WireError(error.message) from None  # of the only element
        return value

    def dump(self, value: object, dims: Dims) -> tuple[Sequence[int], bytes]:
        return (1,), self._packed([self._element.check(value)])


def joined(elements: Sequence[bytes]) -> bytes:
    """Return elements as raw contents have them: each behind its length in 4 bytes."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))
