from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.wire.dtypes import (
    DTYPE_MAP,
    dtype_of,
    numpy_name,
    supported_dtypes,
    wire_name,
)
from blazerpc_client.wire.errors import WireError
from tests.unit.blazerpc_client.strategies import many

NAMES: list[tuple[Any, str]] = [
    (np.float32, "float"),
    (np.float64, "double"),
    (np.int32, "int32"),
    (np.int64, "int64"),
    (np.uint32, "uint32"),
    (np.uint64, "uint64"),
    (np.bool_, "bool"),
    (np.int8, "int8"),
    (np.int16, "int16"),
    (np.uint8, "uint8"),
    (np.uint16, "uint16"),
    (np.float16, "float16"),
    (np.complex64, "complex64"),
    (np.complex128, "complex128"),
    (np.str_, "string"),
    (np.bytes_, "bytes"),
]
DTYPES = [np.dtype(scalar) for scalar in DTYPE_MAP]
NUMERIC = [dtype for dtype in DTYPES if dtype.kind not in "US"]
SPELLINGS = {*DTYPE_MAP.values(), *(dtype.name for dtype in NUMERIC)}


@pytest.mark.parametrize(("scalar", "name"), NAMES)
def test_each_dtype_has_its_name(scalar: Any, name: str) -> None:
    assert wire_name(np.dtype(scalar)) == name
    assert dtype_of(name) == np.dtype(scalar)


def test_no_dtype_is_without_a_name() -> None:
    assert [name for _, name in NAMES] == [n for n in DTYPE_MAP.values() if n != "bfloat16"]
    assert len(set(DTYPE_MAP.values())) == len(DTYPE_MAP)


def test_bfloat16_comes_with_the_package_that_defines_it() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    assert wire_name(np.dtype(ml_dtypes.bfloat16)) == "bfloat16"
    assert dtype_of("bfloat16") == np.dtype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
def test_numpys_own_spelling_is_read(dtype: np.dtype[Any]) -> None:
    assert dtype_of(dtype.name) == dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("order", "<>=")
def test_byte_order_is_not_in_the_name(dtype: np.dtype[Any], order: Any) -> None:
    assert wire_name(dtype.newbyteorder(order)) == DTYPE_MAP[dtype.type]


@pytest.mark.parametrize(("dtype", "name"), [("U0", "string"), ("U9", "string"), ("S1", "bytes")])
def test_item_size_is_not_in_the_name(dtype: str, name: str) -> None:
    assert wire_name(np.dtype(dtype)) == name


@pytest.mark.parametrize("code", "lLqQ")
def test_types_of_one_width_have_one_name(code: str) -> None:
    dtype = np.dtype(code)
    assert wire_name(dtype) == f"{'u' if dtype.kind == 'u' else ''}int{dtype.itemsize * 8}"


@pytest.mark.parametrize(
    "dtype",
    ["object", "datetime64", "datetime64[s]", "timedelta64[ns]", "V4", "f4, i4"],
)
def test_a_dtype_without_a_place_on_the_wire_is_refused(dtype: str) -> None:
    with pytest.raises(WireError, match=r"^unsupported dtype .*; one of float32, .* would do$"):
        wire_name(np.dtype(dtype))


@pytest.mark.skipif(
    not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="old"
)
def test_numpys_strings_of_any_length_are_refused() -> None:
    with pytest.raises(WireError, match="unsupported dtype StringDType"):
        wire_name(np.dtypes.StringDType())


@pytest.mark.parametrize(
    "name", ["", "Float", "FLOAT", " float", "<f4", "f4", "object", "datetime64", "float128", "str"]
)
def test_an_unknown_name_is_quoted(name: str) -> None:
    with pytest.raises(WireError) as error:
        dtype_of(name)
    assert str(error.value) == f"unknown dtype {name!r}"


@many
@given(st.text().filter(lambda name: name not in SPELLINGS))
def test_any_other_name_is_refused_in_one_short_line(name: str) -> None:
    with pytest.raises(WireError, match=r"^unknown dtype") as error:
        dtype_of(name)
    assert str(error.value).isprintable()


def test_no_more_than_the_beginning_of_a_long_name_is_quoted() -> None:
    with pytest.raises(WireError, match=f"^unknown dtype '{'x' * 40}'$"):
        dtype_of("x" * 1_000_000)


def test_people_read_the_names_of_numpy() -> None:
    assert numpy_name(np.dtype("f4")) == "float32"
    assert numpy_name(np.dtype("U7")) == "str"
    assert numpy_name(np.dtype("S7")) == "bytes"
    assert supported_dtypes() == [
        {"U": "str", "S": "bytes"}.get(dtype.kind, dtype.name) for dtype in DTYPES
    ]
