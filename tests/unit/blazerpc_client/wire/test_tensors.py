from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.wire.dtypes import DTYPE_MAP
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.tensors import MAX_RANK, Dims, TensorSpec, decode, encode, shape_text
from tests.unit.blazerpc_client.schemas import tensor
from tests.unit.blazerpc_client.strategies import DTYPES, arrays, assert_same, many, some

Array = npt.NDArray[Any]


@pytest.mark.parametrize("name", DTYPES)
@some
@given(data=st.data())
def test_any_array_survives(name: str, data: st.DataObject) -> None:
    array = data.draw(arrays(DTYPES[name]))
    shape, dtype, raw = encode(array)
    assert dtype == name
    assert shape == array.shape
    assert_same(decode(shape, dtype, raw), array)


@pytest.mark.parametrize(
    ("array", "shape", "name", "data"),
    [
        (np.array([1, -2], np.int16), (2,), "int16", b"\x01\x00\xfe\xff"),
        (np.array([1, -2], ">i2"), (2,), "int16", b"\x01\x00\xfe\xff"),
        (np.array([[1.5]], np.float32), (1, 1), "float", b"\x00\x00\xc0\x3f"),
        (np.array(1.5), (), "double", b"\x00\x00\x00\x00\x00\x00\xf8\x3f"),
        (np.array([True, False]), (2,), "bool", b"\x01\x00"),
        (np.array([1 + 2j], np.complex64), (1,), "complex64", struct.pack("<ff", 1, 2)),
        (np.array([], np.float64), (0,), "double", b""),
        (np.zeros((3, 0), np.int8), (3, 0), "int8", b""),
        (np.array(["é", ""]), (2,), "string", b"\x02\x00\x00\x00\xc3\xa9\x00\x00\x00\x00"),
        (np.array("a"), (), "string", b"\x01\x00\x00\x00a"),
        (np.array([b"\xff"]), (1,), "bytes", b"\x01\x00\x00\x00\xff"),
        (np.array([], np.str_), (0,), "string", b""),
    ],
)
def test_these_are_the_bytes(array: Array, shape: tuple[int, ...], name: str, data: bytes) -> None:
    assert encode(array) == (shape, name, data)
    assert_same(decode(shape, name, data), array)


_MATRIX = np.arange(12, dtype=np.float32).reshape(3, 4)
_WORDS = np.array([["a", "bc", "d"], ["e", "", "fg"]])


@pytest.mark.parametrize(
    "array",
    [
        _MATRIX.T,
        _MATRIX[::-1, ::2],
        _MATRIX.astype(">f4"),
        np.asfortranarray(_MATRIX),
        np.broadcast_to(np.float32(7), (2, 3)),
        np.frombuffer(b"\x00" * 8, np.float32),
        _WORDS.T,
        _WORDS[::-1, ::2],
        _WORDS.astype(">U2"),
    ],
    ids=[
        "transposed",
        "strided",
        "big-endian",
        "column-major",
        "broadcast",
        "read-only",
        "transposed strings",
        "strided strings",
        "big-endian strings",
    ],
)
def test_memory_layout_is_not_sent(array: Array) -> None:
    assert_same(decode(*encode(array)), np.array(array.tolist(), array.dtype.newbyteorder("=")))


def test_numbers_are_read_in_place_and_cannot_be_written_to() -> None:
    data = np.arange(3.0).tobytes()
    array = decode((3,), "double", data)
    assert np.shares_memory(array, np.frombuffer(data))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([object()]), "unsupported dtype object"),
        (np.array([[1, 2], [3]], dtype=object), "unsupported dtype object"),
        (np.array(["2020-01-01"], "datetime64[D]"), r"unsupported dtype datetime64\[D\]"),
        (np.zeros(1, "f4, i4"), "unsupported dtype"),
        (np.array(["a", "\ud800"]), "element 1 is no valid Unicode text"),
        # What lies under the mask, or NumPy's 999999, would travel as if it were a value.
        (np.ma.masked_array([1, 2], [False, True]), "masked"),
        (np.ma.masked_array(["a", "b"], [False, True]), "masked"),
    ],
)
def test_an_array_without_a_place_on_the_wire_is_refused(array: Array, message: str) -> None:
    with pytest.raises(WireError, match=message):
        encode(array)


HUGE = (1 << 63) - 1


@pytest.mark.parametrize(
    ("shape", "name", "data", "message"),
    [
        ((1,), "quaternion", b"", "unknown dtype 'quaternion'"),
        ((1,), "", b"", "unknown dtype ''"),
        ((2,), "float", b"\0" * 7, r"shape \(2,\) of float32 takes 8 bytes, got 7"),
        ((2,), "float", b"\0" * 9, r"shape \(2,\) of float32 takes 8 bytes, got 9"),
        ((2, 3), "float", b"", r"shape \(2, 3\) of float32 takes 24 bytes, got 0"),
        ((), "double", b"", r"shape \(\) of float64 takes 8 bytes, got 0"),
        ((0,), "double", b"\0" * 8, r"shape \(0,\) of float64 takes 0 bytes, got 8"),
        ((-1,), "float", b"\0" * 4, r"negative dimension in shape \(-1,\)"),
        ((-2, -2), "float", b"\0" * 16, "negative dimension"),
        ((0, -1), "string", b"", "negative dimension"),
        ((HUGE, HUGE), "float", b"", r"of float32 takes \d+ bytes, got 0"),
        ((1 << 32, 1 << 32), "int8", b"", "takes 18446744073709551616 bytes, got 0"),
        ((0, HUGE), "float", b"", r"shape \(0, 9223372036854775807\) is too large"),
        ((HUGE, HUGE, 0), "string", b"", "is too large"),
        ((1,) * (MAX_RANK + 1), "int8", b"\0", "at most 64 dimensions, got 65"),
        ((2,), "bool", b"\x01\x02", "a bool tensor holds only the bytes 0 and 1"),
        ((1,), "string", b"", "the shape takes 1 elements, the data holds 0"),
        ((1,), "string", b"\0" * 8, "the shape takes 1 elements, the data holds 2"),
        ((HUGE,), "bytes", b"\0" * 4, "the shape takes 9223372036854775807 elements"),
        ((1,), "string", b"\x01\x00\x00", "data ends inside the length of an element"),
        ((1,), "bytes", b"\x02\x00\x00\x00a", "data ends inside an element"),
        ((1,), "bytes", b"\xff\xff\xff\xff", "data ends inside an element"),
        ((1,), "string", b"\x01\x00\x00\x00\xff", "an element is not valid UTF-8"),
        ((1,), "string", b"\x03\x00\x00\x00\xed\xa0\x80", "an element is not valid UTF-8"),
        ((1,), "string", b"\x02\x00\x00\x00a\x00", "cannot hold an element that ends in a NUL"),
        ((1,), "bytes", b"\x01\x00\x00\x00\x00", "cannot hold an element that ends in a NUL"),
    ],
)
def test_what_is_no_tensor_is_refused(
    shape: tuple[int, ...], name: str, data: bytes, message: str
) -> None:
    with pytest.raises(WireError, match=message):
        decode(shape, name, data)


sizes = st.integers(0, 3) | st.integers(-(1 << 63), HUGE)


@many
@given(
    shape=st.lists(sizes, max_size=4),
    name=st.sampled_from([*DTYPE_MAP.values(), "float32", "nothing"]),
    data=st.binary(max_size=40),
)
def test_strange_bytes_are_an_array_of_that_shape_or_refused(
    shape: list[int], name: str, data: bytes
) -> None:
    try:
        array = decode(shape, name, data)
    except WireError:
        return
    assert array.shape == tuple(shape)
    assert encode(array)[2] == data


@pytest.mark.parametrize("name", ["string", "bytes"])
def test_few_bytes_do_not_make_a_large_array(name: str) -> None:
    # NumPy gives each element the room of the longest: here the square of what was sent.
    size = 1 << 13
    data = struct.pack("<I", size) + b"a" * size + bytes(4 * size)
    try:
        room = decode((size + 1,), name, data).nbytes
    except WireError:
        return
    assert room < 32 << 20


@pytest.mark.parametrize(
    ("spec", "array"),
    [
        (tensor("f4", "batch", 4), np.zeros((7, 4), np.float32)),
        (tensor("f4", "batch", 4), np.zeros((0, 4), np.float32)),
        (tensor("f4"), np.zeros((), np.float32)),
        (tensor("f4", "n", "n"), np.zeros((2, 2), np.float32)),
        (tensor("f4", 0), np.zeros(0, np.float32)),
        (tensor("f4", 1), np.zeros(1, ">f4")),
        (tensor("U", 1), np.array(["longer"])),
        (tensor("S3", 1), np.array([b"longer"])),
    ],
    ids=str,
)
def test_an_array_of_the_declared_type_passes(spec: TensorSpec, array: Array) -> None:
    spec.check(array, {})


@pytest.mark.parametrize(
    ("spec", "array", "message"),
    [
        (tensor("f4", 4), np.zeros(4), "expected dtype float32, got float64"),
        (tensor("f4", 4), np.zeros(5), "expected dtype float32, got float64"),
        (tensor("i4", 1), np.zeros(1, np.uint32), "expected dtype int32, got uint32"),
        (tensor("U", 1), np.array([b"a"]), "expected dtype str, got bytes"),
        (tensor("f4", 1), np.array([object()]), "unsupported dtype object"),
        (tensor("f4", 4), np.zeros(5, "f4"), r"expected shape \(4,\), got \(5,\)"),
        (tensor("f4", "b", 4), np.zeros(4, "f4"), r"expected shape \(b, 4\), got \(4,\)"),
        (tensor("f4", "b"), np.zeros((), "f4"), r"expected shape \(b,\), got \(\)"),
        (tensor("f4"), np.zeros((1,), "f4"), r"expected shape \(\), got \(1,\)"),
        (tensor("f4", "b", 4), np.zeros((4, 3), "f4"), r"expected shape \(b, 4\), got \(4, 3\)"),
        (
            tensor("f4", "n", "n"),
            np.zeros((2, 3), "f4"),
            "dimension 'n' is 3 here, 2 earlier in the call",
        ),
    ],
)
def test_an_array_of_another_type_is_refused(spec: TensorSpec, array: Array, message: str) -> None:
    with pytest.raises(WireError, match=message):
        spec.check(array, {})


def test_a_name_stands_for_one_size_in_a_call() -> None:
    dims: Dims = {}
    tensor("f4", "batch", "width").check(np.zeros((2, 3), np.float32), dims)
    assert dims == {"batch": 2, "width": 3}
    tensor("i8", "width").check(np.zeros(3, np.int64), dims)
    with pytest.raises(WireError, match="dimension 'batch' is 4 here, 2 earlier in the call"):
        tensor("i8", "batch").check(np.zeros(4, np.int64), dims)


@pytest.mark.parametrize(
    ("shape", "text"),
    [((), "()"), ((4,), "(4,)"), (("batch",), "(batch,)"), (("batch", 4), "(batch, 4)")],
)
def test_a_shape_reads_as_one_writes_it(shape: tuple[int | str, ...], text: str) -> None:
    assert shape_text(shape) == text
    assert str(tensor("f4", *shape)) == f"float32 {text}"


def test_data_that_is_not_aligned_is_copied_to_where_it_is() -> None:
    data = memoryview(bytes(1) + np.arange(5, dtype=np.float32).tobytes())[1:]
    array = decode([5], "float", data)
    assert array.flags.aligned
    assert not array.flags.writeable
    assert array.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("array", [np.array([True, False]), np.array(["a", "bc"]), np.arange(3)])
def test_data_may_be_a_view(array: npt.NDArray[Any]) -> None:
    shape, dtype, data = encode(array)
    assert_same(decode(shape, dtype, memoryview(data)), array)
    if array.dtype.kind == "b":
        with pytest.raises(WireError, match="only the bytes 0 and 1"):
            decode([2], dtype, memoryview(b"\x01\x02"))
