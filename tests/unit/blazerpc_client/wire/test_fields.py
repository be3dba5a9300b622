from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import MessageCodec
from blazerpc_client.wire.tensors import Dims
from tests.unit.blazerpc_client.schemas import (
    TENSOR,
    Model,
    add_field,
    message_class,
    schema_of,
    schema_of_files,
    service_file,
    tensor,
)
from tests.unit.blazerpc_client.strategies import arrays, assert_same, many, unicode_text

SCHEMA = schema_of(
    Model(
        parameters={
            "text": "string",
            "scores": "repeated float",
            "ids": "repeated int32",
            "x": tensor("f4", "batch", 4),
            "weights": tensor("f8", "batch"),
            "any": TENSOR,
        }
    )
)
DESCRIPTOR = SCHEMA.message("blazerpc.EchoRequest")
Request = message_class(SCHEMA, "EchoRequest")
X = np.ones((2, 4), np.float32)
VALUES: dict[str, object] = {
    "text": "a",
    "scores": [0.5, 1],
    "ids": [1, -1],
    "x": X,
    "weights": np.ones(2),
    "any": np.array(["a"]),
}


@pytest.fixture
def codec() -> MessageCodec:
    return MessageCodec(DESCRIPTOR, Request)


def with_value(name: str, value: object) -> dict[str, object]:
    return {**VALUES, name: value}


def test_what_is_written_is_read(codec: MessageCodec) -> None:
    dims: Dims = {}
    message = codec.encode(VALUES, dims)
    assert dims == {"batch": 2}
    read = codec.decode(Request.FromString(message.SerializeToString()), {})
    assert list(read) == list(VALUES)
    for name, value in read.items():
        np.testing.assert_array_equal(np.asarray(value), np.asarray(VALUES[name]))
    assert type(read["scores"]) is type(read["ids"]) is list


@many
@given(
    text=unicode_text,
    ids=st.lists(st.integers(-(1 << 31), (1 << 31) - 1)),
    any=arrays(np.complex64) | arrays(np.str_),
)
def test_any_values_survive(text: str, ids: list[int], any: Any) -> None:
    codec = MessageCodec(DESCRIPTOR, Request)
    message = codec.encode({**VALUES, "text": text, "ids": ids, "any": any}, {})
    read = codec.decode(Request.FromString(message.SerializeToString()), {})
    assert read["text"] == text
    assert read["ids"] == ids
    assert_same(read["any"], any)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ids", ()),
        ("ids", (1, 2)),
        ("ids", [np.int64(1)]),
        ("scores", [1, np.float16(0.5)]),
        ("any", np.float32(1)),
        ("any", np.array(b"")),
    ],
)
def test_what_a_type_checker_lets_through_is_taken(
    codec: MessageCodec, name: str, value: object
) -> None:
    read = codec.decode(codec.encode(with_value(name, value), {}), {})[name]
    np.testing.assert_array_equal(np.asarray(read), np.asarray(value))


@pytest.mark.parametrize(
    ("name", "value", "at", "message"),
    [
        ("text", 1, "text", "expected str, got int"),
        ("text", ["a"], "text", "expected str, got list"),
        ("ids", [1, 2, "3"], "ids[2]", "expected int, got str"),
        ("ids", [1 << 31], "ids[0]", "value is out of range for int32"),
        ("ids", 1, "ids", "expected list, got int"),
        ("ids", "12", "ids", "expected list, got str"),
        ("ids", None, "ids", "expected list, got NoneType"),
        ("ids", {1, 2}, "ids", "expected list, got set"),
        ("ids", np.array([1]), "ids", "expected list, got ndarray"),
        ("ids", range(2), "ids", "expected list, got range"),
        ("scores", [0.5, [0.5]], "scores[1]", "expected float, got list"),
        ("scores", [1e39], "scores[0]", "value is out of range for a 32-bit float"),
        ("x", None, "x", "expected float32 (batch, 4) array, got NoneType"),
        ("x", [[1.0] * 4], "x", "expected float32 (batch, 4) array, got list"),
        ("x", X.astype("f8"), "x", "expected dtype float32, got float64"),
        ("x", X[0], "x", "expected shape (batch, 4), got (4,)"),
        ("x", np.float32(1), "x", "expected shape (batch, 4), got ()"),
        ("weights", np.ones(3), "weights", "dimension 'batch' is 3 here, 2 earlier in the call"),
        ("any", "a", "any", "expected array, got str"),
        ("any", np.array([None]), "any", "unsupported dtype object"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    codec: MessageCodec, name: str, value: object, at: str, message: str
) -> None:
    with pytest.raises(WireError) as error:
        codec.encode(with_value(name, value), {})
    assert error.value.field == at
    assert str(error.value).startswith(f"{at}: {message}")


def test_a_parameter_that_is_missing_is_named(codec: MessageCodec) -> None:
    values = {name: value for name, value in VALUES.items() if name != "ids"}
    with pytest.raises(WireError, match=r"^ids: missing$"):
        codec.encode(values, {})


def test_a_parameter_too_many_is_named_with_those_there_are(codec: MessageCodec) -> None:
    takes = "text, scores, ids, x, weights, any"
    with pytest.raises(WireError, match=f"^idz: no such parameter; there are: {takes}$"):
        codec.encode({**VALUES, "idz": []}, {})


def test_a_misspelt_parameter_is_named_before_the_missing_one(codec: MessageCodec) -> None:
    with pytest.raises(WireError, match=r"^txt: no such parameter"):
        codec.encode({"txt": "a"}, {})


@pytest.mark.parametrize(
    ("field", "tensor_bytes", "message"),
    [
        ("x", None, "x: missing"),
        ("any", None, "any: missing"),
        ("any", {}, "any: unknown dtype ''"),
        ("any", {"dtype": "float"}, "any: shape () of float32 takes 4 bytes, got 0"),
        ("any", {"dtype": "float", "shape": [-1]}, "any: negative dimension in shape (-1,)"),
        (
            "x",
            {"dtype": "double", "shape": [0, 4]},
            "x: expected dtype float32, got float64",
        ),
        (
            "x",
            {"dtype": "float", "shape": [0, 5]},
            "x: expected shape (batch, 4), got (0, 5)",
        ),
        (
            "weights",
            {"dtype": "double", "shape": [0]},
            "weights: dimension 'batch' is 0 here, 2 earlier in the call",
        ),
    ],
)
def test_a_wrong_tensor_that_arrives_is_refused_by_name(
    codec: MessageCodec, field: str, tensor_bytes: dict[str, Any] | None, message: str
) -> None:
    arrived = codec.encode(VALUES, {})
    arrived.ClearField(field)
    if tensor_bytes is not None:
        getattr(arrived, field).SetInParent()
        getattr(arrived, field).MergeFrom(type(getattr(arrived, field))(**tensor_bytes))
    with pytest.raises(WireError) as error:
        codec.decode(arrived, {})
    assert str(error.value) == message


OPTIONAL = Model(
    parameters={
        "text": "string",
        "count": "int32",
        "x": tensor("f4", "batch"),
        "ids": "repeated int32",
        "needed": "bool",
    },
    optional=["text", "count", "x"],
    defaults={"count": "3", "ids": "[]"},
)


@pytest.mark.parametrize("absent", [{}, {"text": None, "count": None, "x": None, "ids": None}])
def test_what_is_left_out_is_absent(absent: dict[str, object]) -> None:
    request = message_class(schema_of(OPTIONAL), "EchoRequest")
    codec = MessageCodec(schema_of(OPTIONAL).message("blazerpc.EchoRequest"), request)
    message = codec.encode({**absent, "needed": True}, {})
    assert message.SerializeToString() == b"\x28\x01"
    assert codec.decode(message, {}) == {
        "text": None,
        "count": None,
        "x": None,
        "ids": [],
        "needed": True,
    }


def test_an_optional_value_that_is_the_zero_of_its_type_is_present() -> None:
    request = message_class(schema_of(OPTIONAL), "EchoRequest")
    codec = MessageCodec(schema_of(OPTIONAL).message("blazerpc.EchoRequest"), request)
    values = {"text": "", "count": 0, "x": np.zeros(0, np.float32), "ids": [], "needed": False}
    data = codec.encode(values, {}).SerializeToString()
    read = codec.decode(request.FromString(data), {})
    assert (read["text"], read["count"]) == ("", 0)
    assert_same(read["x"], np.zeros(0, np.float32))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needed: missing"),
        ({"needed": None}, "needed: expected bool, got NoneType"),
        ({"needed": True, "count": "3"}, "count: expected int, got str"),
        ({"needed": True, "x": np.zeros(1)}, "x: expected dtype float32, got float64"),
        ({"needed": True, "ids": 3}, "ids: expected list, got int"),
    ],
)
def test_what_may_be_left_out_is_checked_when_it_is_there(
    values: dict[str, object], message: str
) -> None:
    request = message_class(schema_of(OPTIONAL), "EchoRequest")
    codec = MessageCodec(schema_of(OPTIONAL).message("blazerpc.EchoRequest"), request)
    with pytest.raises(WireError) as error:
        codec.encode(values, {})
    assert str(error.value) == message


def test_an_enum_without_a_class_is_its_name() -> None:
    file = service_file(Model())
    file.enum_type.add(name="Colour").value.add(name="RED", number=0)
    odd = add_field(file.message_type[0], "odd", "string")
    odd.type, odd.type_name = FieldDescriptorProto.TYPE_ENUM, ".blazerpc.Colour"
    schema = schema_of_files(file)
    codec = MessageCodec(
        schema.message("blazerpc.EchoRequest"), message_class(schema, "EchoRequest")
    )
    message = codec.encode({"text": "", "odd": "RED"}, {})
    assert codec.decode(message, {}) == {"text": "", "odd": "RED"}
    # A value that only a newer schema has a name for is its number.
    assert codec.decode(codec.encode({"text": "", "odd": 7}, {}), {})["odd"] == 7
    with pytest.raises(WireError, match=r"^odd: expected one of RED, got 'BLUE'$"):
        codec.encode({"text": "", "odd": "BLUE"}, {})
