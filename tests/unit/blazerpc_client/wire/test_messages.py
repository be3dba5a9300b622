from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import betterproto2
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client import InvalidArgument
from tests.unit.blazerpc_client.packages import import_client
from tests.unit.blazerpc_client.schemas import TENSOR, Model, message_class, schema_of, tensor
from tests.unit.blazerpc_client.strategies import arrays, many, unicode_text

MODEL = Model(
    parameters={
        "text": "string",
        "count": "int32",
        "score": "double",
        "narrow": "float",
        "flag": "bool",
        "raw": "bytes",
        "ids": "repeated int64",
        "words": "repeated string",
        "x": tensor("f4", "batch", 2),
        "weights": tensor("f8", "batch"),
        "any": TENSOR,
    },
    result=tensor("U", "batch"),
)
DEFAULTS = Model(
    stem="Defaults",
    name="defaults",
    parameters={"top": "int32", "name": "string", "ids": "repeated int64"},
    optional=["top", "name"],
    defaults={"top": "3", "ids": "[]"},
)
# A parameter may have any of these names, and its wire name is the same.
ODD_NAMES = [
    "X",
    "inputIDs",
    "HTTPServer",
    "layer_1",
    "a1b2",
    "v_2d",
    "_hidden",
    "trailing_",
    "double__underscore",
    "load",
    "parse",
    "to_dict",
    "is_set",
    "Message",
    "SCHEMA",
    "self",
    "np",
    "str",
    "int",
    "list",
    "field",
    "_unknown_fields",
]

Google = message_class(schema_of(MODEL), "EchoRequest")
X = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    odd = [
        Model(stem=f"Odd{number}", name=f"odd{number}", parameters={name: "string"})
        for number, name in enumerate(ODD_NAMES)
    ]
    return import_client(tmp_path_factory.mktemp("clients"), MODEL, DEFAULTS, *odd)


def values(**others: object) -> dict[str, Any]:
    return {
        "text": "é",
        "count": -3,
        "score": 0.1,
        "narrow": 0.5,
        "flag": True,
        "raw": b"\xff",
        "ids": [1, 1 << 62],
        "words": ["a", ""],
        "x": X,
        "weights": np.array([0.5, -0.5]),
        "any": np.array([b"\xff"]),
        **others,
    }


def google_message(**kwargs: Any) -> Message:
    """Return google.protobuf's message of the same values, filled by its own means."""
    message = Google()
    for name, value in kwargs.items():
        if isinstance(value, np.ndarray):
            part = getattr(message, name)
            part.shape.extend(value.shape)
            part.dtype = {"f4": "float", "f8": "double", "S1": "bytes"}[value.dtype.str[1:]]
            part.data = value.tobytes() if value.dtype.kind == "f" else b"\x01\0\0\0" + value[0]
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    return message


def test_the_bytes_are_those_of_google_protobuf(package: Any) -> None:
    data = bytes(package.EchoRequest(**values()))
    assert data == google_message(**values()).SerializeToString(deterministic=True)


def test_the_json_is_that_of_google_protobuf(package: Any) -> None:
    message = package.EchoRequest(**values(score=math.inf, narrow=math.nan))
    expected = json_format.MessageToDict(Google.FromString(bytes(message)))
    assert message.to_dict() == expected
    assert json.loads(message.to_json()) == expected


def test_fields_are_plain_values_and_arrays(package: Any) -> None:
    parsed = package.EchoRequest.parse(bytes(package.EchoRequest(**values())))
    for name, value in values().items():
        field = getattr(parsed, name)
        assert type(field) is type(value)
        np.testing.assert_array_equal(field, value)
    assert isinstance(parsed, betterproto2.Message)


@many
@given(
    text=unicode_text,
    count=st.integers(-(1 << 31), (1 << 31) - 1),
    score=st.floats(),
    # protobuf's JSON cannot read the largest 32-bit floats as it writes them: 3.4028235e38.
    narrow=st.floats(width=32).filter(lambda x: math.isinf(x) or not abs(x) > 3.402823e38),
    flag=st.booleans(),
    raw=st.binary(),
    ids=st.lists(st.integers(-(1 << 63), (1 << 63) - 1)),
    words=st.lists(unicode_text),
    batch=st.integers(0, 3),
    any=arrays(np.complex128) | arrays(np.str_) | arrays(np.bytes_),
)
def test_any_values_survive_as_bytes_and_as_json(package: Any, batch: int, **given: Any) -> None:
    given |= {"x": np.ones((batch, 2), np.float32), "weights": np.zeros(batch)}
    message = package.EchoRequest(**given)
    data = bytes(message)
    assert package.EchoRequest.parse(data) == message
    assert bytes(package.EchoRequest.parse(data)) == data
    assert package.EchoRequest.from_dict(message.to_dict()) == message
    assert package.EchoRequest.from_json(message.to_json()) == message
    assert Google.FromString(data).SerializeToString(deterministic=True) == data


@pytest.mark.parametrize("number", range(len(ODD_NAMES)), ids=ODD_NAMES)
def test_a_parameter_of_any_name_survives(package: Any, number: int) -> None:
    message_type = getattr(package, f"Odd{number}Request")
    (field,) = dataclasses.fields(message_type)
    assert field.name in (ODD_NAMES[number], f"{ODD_NAMES[number]}_")
    message = message_type(**{field.name: "é"})
    assert getattr(message, field.name) == "é"
    assert message_type.parse(bytes(message)) == message
    assert bytes(message) == b"\x0a\x02\xc3\xa9"
    assert message.is_set(field.name)
    assert message
    assert f"{field.name}='é'" in repr(message)


@pytest.mark.parametrize("number", range(len(ODD_NAMES)), ids=ODD_NAMES)
def test_a_parameter_of_any_name_has_protobufs_name_in_json(package: Any, number: int) -> None:
    message_type = getattr(package, f"Odd{number}Request")
    (name,) = (field.name for field in dataclasses.fields(message_type))
    message = message_type(**{name: "a"})
    google = message_class(
        schema_of(Model(parameters={ODD_NAMES[number]: "string"})), "EchoRequest"
    )
    assert message.to_dict() == json_format.MessageToDict(google.FromString(b"\x0a\x01a"))
    assert message_type.from_dict(message.to_dict()) == message


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text", 1, "text: expected str, got int"),
        ("count", 1 << 31, "count: value is out of range for int32"),
        ("narrow", 1e39, "narrow: value is out of range for a 32-bit float"),
        ("ids", [1, "2"], r"ids\[1\]: expected int, got str"),
        ("ids", None, "ids: expected list, got NoneType"),
        ("x", None, r"x: expected float32 \(batch, 2\) array, got NoneType"),
        ("x", X.astype("f8"), "x: expected dtype float32, got float64"),
        ("x", X[:, :1], r"x: expected shape \(batch, 2\), got \(2, 1\)"),
        ("weights", np.zeros(3), "weights: dimension 'batch' is 3 here, 2 earlier"),
        ("any", np.array([None]), "any: unsupported dtype object"),
    ],
)
def test_a_wrong_value_has_no_bytes(package: Any, field: str, value: object, message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}") as error:
        bytes(package.EchoRequest(**values(**{field: value})))
    assert error.value.field == message.partition(":")[0].replace("\\", "")


@pytest.mark.parametrize(
    ("data", "field", "message"),
    [
        (b"\x0a\x05ab", "text", "not a valid protobuf message"),
        (b"\x0a\x01\xff", "text", "not a valid protobuf message"),
        (b"\x4a\x03\x12\x01\xff", "x.dtype", "not a valid protobuf message"),
        (b"", "x", "missing"),
        (b"\x4a\x00", "x", "unknown dtype ''"),
        (b"\x4a\x07\x12\x05float", "x", "takes 4 bytes, got 0"),
        (b"\x4a\x09\x0a\x01\x00\x12\x04bool", "x", "expected dtype float32, got bool"),
    ],
)
def test_bytes_that_hold_no_such_message_are_refused_by_field(
    package: Any, data: bytes, field: str, message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message) as error:
        package.EchoRequest.parse(data)
    assert error.value.field == field
    assert str(error.value).startswith(f"{field}: ")


def test_bytes_that_are_no_message_at_all_are_refused(package: Any) -> None:
    with pytest.raises(InvalidArgument, match="not a valid protobuf message") as error:
        package.EchoRequest.parse(b"\xff\xff")
    assert error.value.field is None


def test_fields_of_a_newer_schema_are_skipped(package: Any) -> None:
    message = package.EchoRequest(**values())
    assert package.EchoRequest.parse(bytes(message) + b"\xa2\x06\x01a") == message


def test_streams_are_read_as_strictly_as_bytes(package: Any) -> None:
    message = package.EchoRequest(**values())
    stream = io.BytesIO()
    message.dump(stream)
    assert stream.getvalue() == bytes(message)
    other = package.EchoRequest(**values(text="", count=0))
    assert other.load(io.BytesIO(bytes(message))) is other
    assert other == message
    with pytest.raises(InvalidArgument, match="not a valid protobuf message"):
        other.load(io.BytesIO(b"\x0a\x05ab"))


@pytest.mark.parametrize(
    "value",
    [
        {"unheardOf": 1},
        {"count": "many"},
        {"x": {"shape": ["1"], "dtype": "float", "data": "AAAA"}},
    ],
)
def test_json_that_is_no_such_message_is_refused(package: Any, value: dict[str, Any]) -> None:
    with pytest.raises((InvalidArgument, ValueError, KeyError)):
        package.EchoRequest.from_dict(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", "other"),
        ("score", math.nan),
        ("ids", [1]),
        ("x", X + 1),
        ("x", X[:1]),
        ("x", X.astype("f8")),
        ("x", X.tolist()),
        ("x", None),
        ("any", np.array(["a"])),
    ],
)
def test_messages_differ_where_a_field_does(package: Any, name: str, value: object) -> None:
    message = package.EchoRequest(**values())
    assert message == package.EchoRequest(**values(x=X.copy()))
    assert message != package.EchoRequest(**values(**{name: value}))
    assert package.EchoRequest(**values(**{name: value})) != message


def test_a_message_is_no_other_thing(package: Any) -> None:
    assert package.Odd0Request(X="") != package.Odd1Request(inputIDs="")
    assert package.Odd0Request(X="") != ""
    assert (package.Odd0Request(X="") == None) is False  # noqa: E711 - what is tested


def test_a_message_that_holds_nan_equals_itself(package: Any) -> None:
    def make(**others: Any) -> Any:
        return package.EchoRequest(**values(score=math.nan, x=X * math.nan, **others))

    assert make() == make()
    assert package.EchoRequest.parse(bytes(make())) == make()


def test_bfloat16_that_holds_nan_equals_itself(package: Any) -> None:
    def make(*numbers: float) -> Any:
        return package.EchoRequest(**values(x=np.array(numbers, dtype=ml_dtypes.bfloat16)))

    assert make(math.nan, 1) == make(math.nan, 1)
    assert make(math.nan, 1) != make(1, math.nan)


def test_a_list_that_holds_nan_equals_itself(tmp_path: Path) -> None:
    package = import_client(tmp_path, Model(parameters={"scores": "repeated double"}))
    message = package.EchoRequest(scores=[math.nan])
    assert package.EchoRequest.parse(bytes(message)) == message


@pytest.mark.parametrize(
    "array",
    [np.array([1.5], ">f4"), np.array(["a"], "U9"), np.array([b"a"], "S9"), np.array(["a"], ">U1")],
    ids=["big-endian", "wide strings", "wide bytes", "big-endian strings"],
)
def test_equal_arrays_are_equal_whatever_their_memory(
    package: Any, array: npt.NDArray[Any]
) -> None:
    message = package.EchoRequest(**values(any=array))
    assert package.EchoRequest.parse(bytes(message)) == message


def test_fields_that_may_be_absent(tmp_path: Path) -> None:
    model = Model(
        parameters={"text": "string", "count": "int32", "x": tensor("f4", "batch")},
        optional=["text", "count", "x"],
    )
    request = import_client(tmp_path, model).EchoRequest
    empty, zero = request(), request(text="", count=0, x=np.zeros(0, np.float32))
    assert (empty.text, empty.count, empty.x) == (None, None, None)
    assert bytes(empty) == b""
    assert request.parse(b"") == empty != zero
    assert not empty.is_set("text")
    for name in ("text", "count", "x"):
        assert zero.is_set(name)
    for message in (empty, zero, request(count=3)):
        assert request.parse(bytes(message)) == message
        assert request.from_dict(message.to_dict()) == message
    google = message_class(schema_of(model), "EchoRequest").FromString(bytes(zero))
    assert zero.to_dict() == json_format.MessageToDict(google)


def test_nobody_hashes_what_can_change(package: Any) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(package.EchoRequest(**values()))


def test_what_is_set_is_not_the_default(package: Any) -> None:
    for other, is_set in [(4, True), (3, False)]:
        assert package.DefaultsRequest(top=other).is_set("top") is is_set
    assert not package.DefaultsRequest().is_set("name")
    assert not package.DefaultsRequest()
    # What must be given is always set.
    message = package.EchoRequest(**values(text=""))
    assert message.is_set("text")
    assert message


def test_what_has_no_default_must_be_given(package: Any) -> None:
    with pytest.raises(TypeError, match="'X'"):
        package.Odd0Request()
    with pytest.raises(TypeError):
        package.Odd0Request("X")


def test_whether_a_field_that_is_not_there_is_set_has_no_answer(package: Any) -> None:
    with pytest.raises((AttributeError, KeyError, ValueError), match="nothing"):
        package.EchoRequest(**values()).is_set("nothing")


def test_people_can_read_a_message(package: Any) -> None:
    assert repr(package.Odd0Request(X="é")) == "Odd0Request(X='é')"
    assert repr(package.EchoResponse(result=np.array(["a"]))) == (
        "EchoResponse(result=array(['a'], dtype='<U1'))"
    )


def test_lists_are_not_shared_by_messages(package: Any) -> None:
    package.DefaultsRequest().ids.append(1)
    assert package.DefaultsRequest().ids == []


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_equal(package: Any, duplicate: Any) -> None:
    message = package.EchoRequest(**values())
    assert duplicate(message) == message


def test_a_message_can_be_pickled(package: Any) -> None:
    message = package.EchoRequest(**values())
    assert pickle.loads(pickle.dumps(message)) == message


def test_a_field_that_is_not_there_cannot_be_given(package: Any) -> None:
    with pytest.raises(TypeError, match="nothing"):
        package.EchoRequest(nothing=1)
