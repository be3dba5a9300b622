from __future__ import annotations

import enum
import math
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.scalars import SCALARS, Scalar
from tests.unit.blazerpc_client.schemas import Model, message_class, schema_of
from tests.unit.blazerpc_client.strategies import many, some, unicode_text

BY_NAME: dict[str, Scalar] = {scalar.name: scalar for scalar in SCALARS.values()}
RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(["int32", "sint32", "sfixed32"], (-(1 << 31), (1 << 31) - 1)),
    **dict.fromkeys(["int64", "sint64", "sfixed64"], (-(1 << 63), (1 << 63) - 1)),
    **dict.fromkeys(["uint32", "fixed32"], (0, (1 << 32) - 1)),
    **dict.fromkeys(["uint64", "fixed64"], (0, (1 << 64) - 1)),
}
MAX_FLOAT32 = float(np.finfo(np.float32).max)
#: Half a step above the largest float32: rounding to even takes it to infinity.
FLOAT32_OVERFLOW = 2.0**128 - 2.0**103

AllScalars = message_class(
    schema_of(Model(stem="All", parameters={f"{name}_": name for name in BY_NAME})), "AllRequest"
)


# What one wrote before there was StrEnum; its str() is "Colour.RED".
class Colour(str, enum.Enum):  # noqa: UP042 - the older form is the one to test
    RED = "red"


class Count(enum.IntEnum):
    ONE = 1


def sent(name: str, value: object) -> Any:
    """Return what the other side reads when ``value`` is sent."""
    message = AllScalars()
    setattr(message, f"{name}_", BY_NAME[name].convert(value))
    return getattr(AllScalars.FromString(message.SerializeToString()), f"{name}_")


def test_every_scalar_of_protobuf_is_there() -> None:
    kinds = {
        number
        for name, number in vars(FieldDescriptor).items()
        if name.startswith("TYPE_") and name not in {"TYPE_MESSAGE", "TYPE_GROUP", "TYPE_ENUM"}
    }
    assert set(SCALARS) == kinds
    for number, scalar in SCALARS.items():
        assert number == getattr(FieldDescriptor, f"TYPE_{scalar.name.upper()}")


@pytest.mark.parametrize("name", RANGES)
def test_an_integer_is_taken_in_its_range_alone(name: str) -> None:
    low, high = RANGES[name]
    assert sent(name, low) == low
    assert sent(name, high) == high
    for value in (low - 1, high + 1):
        with pytest.raises(WireError, match=rf"out of range for u?int\d+ \({low} to {high}\)"):
            BY_NAME[name].convert(value)


@pytest.mark.parametrize("name", RANGES)
@some
@given(value=st.integers(-(1 << 66), 1 << 66))
def test_any_integer_arrives_or_is_refused(name: str, value: int) -> None:
    low, high = RANGES[name]
    if low <= value <= high:
        assert sent(name, value) == value
    else:
        with pytest.raises(WireError, match="out of range"):
            BY_NAME[name].convert(value)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("int64", np.int8(-3), -3),
        ("int64", np.uint64(3), 3),
        ("int32", True, 1),
        ("int32", Count.ONE, 1),
        ("double", 3, 3.0),
        ("double", True, 1.0),
        ("double", np.float32(0.5), 0.5),
        ("double", np.int16(-3), -3.0),
        ("double", np.float64(0.1), 0.1),
        ("float", 3, 3.0),
        ("float", np.float16(0.5), 0.5),
        ("bool", True, True),
        ("bool", np.bool_(False), False),
        ("string", "", ""),
        ("string", "a\0é漢🎉", "a\0é漢🎉"),
        ("string", np.str_("a"), "a"),
        ("string", Colour.RED, "red"),
        ("bytes", b"\xff\0", b"\xff\0"),
        ("bytes", np.bytes_(b"a"), b"a"),
    ],
)
def test_a_value_becomes_the_plain_one(name: str, value: object, expected: object) -> None:
    converted = BY_NAME[name].convert(value)
    assert converted == expected
    assert type(converted) is BY_NAME[name].python
    assert sent(name, value) == expected


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("int64", 1.0, "expected int, got float"),
        ("int64", np.float64(1), "expected int, got float64"),
        ("int64", "1", "expected int, got str"),
        ("int64", None, "expected int, got NoneType"),
        ("int64", np.bool_(True), "expected int, got bool"),
        ("int64", np.array(1), "expected int, got ndarray"),
        ("int64", np.timedelta64(1, "s"), "expected int, got timedelta64"),
        ("int64", [1], "expected int, got list"),
        ("double", "1.0", "expected float, got str"),
        ("double", None, "expected float, got NoneType"),
        ("double", 1j, "expected float, got complex"),
        ("double", np.bool_(True), "expected float, got bool"),
        ("double", np.array(1.0), "expected float, got ndarray"),
        ("double", np.timedelta64(1, "s"), "expected float, got timedelta64"),
        ("double", 10**400, "out of range for a 64-bit float"),
        ("float", -(10**400), "out of range"),
        ("float", "1.0", "expected float, got str"),
        ("bool", 1, "expected bool, got int"),
        ("bool", "true", "expected bool, got str"),
        ("bool", None, "expected bool, got NoneType"),
        ("string", b"a", "expected str, got bytes"),
        ("string", 1, "expected str, got int"),
        ("string", None, "expected str, got NoneType"),
        ("string", "a\ud800", r"not valid Unicode text \(a lone surrogate\)"),
        ("bytes", "a", "expected bytes, got str"),
        ("bytes", bytearray(b"a"), "expected bytes, got bytearray"),
        ("bytes", memoryview(b"a"), "expected bytes, got memoryview"),
        ("bytes", 3, "expected bytes, got int"),
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: object, message: str) -> None:
    with pytest.raises(WireError, match=message):
        BY_NAME[name].convert(value)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_last_float_that_fits_32_bits(sign: int) -> None:
    assert sent("float", sign * MAX_FLOAT32) == sign * MAX_FLOAT32
    last = sign * math.nextafter(FLOAT32_OVERFLOW, 0)
    assert sent("float", last) == sign * MAX_FLOAT32
    with pytest.raises(WireError, match=r"out of range for a 32-bit float; declare np\.float64"):
        BY_NAME["float"].convert(sign * FLOAT32_OVERFLOW)
    assert sent("double", sign * FLOAT32_OVERFLOW) == sign * FLOAT32_OVERFLOW


@many
@given(st.floats())
def test_a_float_is_refused_where_32_bits_make_it_infinite(value: float) -> None:
    with np.errstate(over="ignore"):
        narrow = float(np.float32(value))
    if math.isinf(narrow) and not math.isinf(value):
        with pytest.raises(WireError, match="out of range for a 32-bit float"):
            BY_NAME["float"].convert(value)
    else:
        assert np.array_equal(sent("float", value), narrow, equal_nan=True)


@many
@given(st.floats())
def test_any_float_survives_in_64_bits(value: float) -> None:
    arrived = sent("double", value)
    assert np.array_equal(arrived, value, equal_nan=True)
    assert math.copysign(1, arrived) == math.copysign(1, value)


@many
@given(unicode_text)
def test_any_text_survives(value: str) -> None:
    assert sent("string", value) == value


@many
@given(st.binary())
def test_any_bytes_survive(value: bytes) -> None:
    assert sent("bytes", value) == value
