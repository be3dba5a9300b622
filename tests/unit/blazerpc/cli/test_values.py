"""Values as JSON and as the text of an argument: any survives, all else is refused."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from importlib import resources
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from hypothesis import given
from hypothesis import strategies as st

from blazerpc.cli.arrays import array_from_json, array_to_json
from blazerpc.cli.values import (
    from_json,
    from_text,
    kind_of,
    message_from_json,
    message_to_json,
    parse_json,
    to_json,
)
from blazerpc.codegen.schema import build_schema
from blazerpc_client.errors import InvalidArgument
from blazerpc_client.schema import Schema, UnaryMethod
from blazerpc_client.wire.errors import WireError
from tests.apps import echo, rows
from tests.conftest import ROOT
from tests.unit.blazerpc_client.strategies import DTYPES, arrays, some

ROWS = build_schema(rows.app.registry)
ECHO = build_schema(echo.app.registry)


def rpc(schema: Schema, model: str) -> str:
    """Return the full name of the method of a model that gives back what it gets."""
    stem = "".join(word.capitalize() for word in model.replace("-", "_").split("_"))
    (name,) = [
        method.full_name
        for method in schema.service("blazerpc.InferenceService").methods
        if method.name == f"Predict{stem}"
    ]
    return str(name)


def field_of(schema: Schema, model: str) -> FieldDescriptor:
    found: FieldDescriptor = schema.method(rpc(schema, model)).input_type.fields_by_name["value"]
    return found


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
float32 = st.floats(width=32)
zones = st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)
durations = st.timedeltas(timedelta(days=-3_652_500), timedelta(days=3_652_500))
kinds = st.sampled_from(["ARTICLE", "NOTE"])
levels = st.sampled_from(["LOW", "HIGH", "BELOW"]) | st.integers(-(1 << 31), -2)
modes = st.sampled_from(["fast", "exact"])
spans = st.fixed_dictionaries({"start": int64, "end": st.none() | int64})
extras = st.fixed_dictionaries({"source": text, "weight": st.none() | st.floats()})
all_settings = st.fixed_dictionaries(
    {"temperature": float32, "stop": st.lists(text), "level": st.none() | levels}
)
# Sizes that have a name are the same throughout a call.
pixels = arrays(np.uint8, st.just((2, 3)))


def documents(depth: int = 0) -> st.SearchStrategy[Any]:
    parts = documents(depth + 1) if depth < 1 else None
    return st.fixed_dictionaries(
        {
            "title": text,
            "raw": st.binary(),
            "score": float32,
            "embedding": arrays(np.float32, st.just((3,))),
            "kind": kinds,
            "mode": modes,
            "when": times,
            "took": durations,
            "span": spans,
            "extra": extras,
            "parts": st.just([]) if parts is None else st.lists(parts, max_size=2),
            "by_name": st.just({}) if parts is None else st.dictionaries(text, parts, max_size=2),
            "by_number": st.dictionaries(int64, spans, max_size=2),
            "images": st.lists(pixels, max_size=2),
            "flags": st.lists(st.booleans()),
            "note": st.none() | text,
            "level": st.none() | levels,
            "top_k": st.none() | int64,
            "settings": st.none() | all_settings,
            "halves": st.none() | arrays(np.float16, st.just((2,))),
        }
    )


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "document": documents(),
    "span": spans,
    "extra": extras,
    "settings": all_settings,
    "kind": kinds,
    "level": levels,
    "mode": modes,
    "when": times,
    "took": durations,
    "documents": st.lists(documents(1), max_size=2),
    "kinds": st.lists(kinds),
    "modes": st.lists(modes),
    "times": st.lists(times),
    "widths": st.lists(st.integers(-(1 << 31), (1 << 31) - 1)),
    "counts": st.dictionaries(text, int64),
    "spans": st.dictionaries(int64, spans),
    "levels": st.dictionaries(text, levels),
    "scores": st.dictionaries(text, st.floats()),
    "arrays": st.lists(arrays(np.float32, st.just((2,)))),
    "named_arrays": st.dictionaries(text, arrays(np.complex64, st.just(()))),
    "texts": arrays(np.str_, st.tuples(st.integers(0, 3))),
    "blobs": arrays(np.bytes_, st.tuples(st.integers(0, 3))),
    "brains": arrays(ml_dtypes.bfloat16, st.tuples(st.integers(0, 3))),
    "jax": arrays(np.float32, st.tuples(st.integers(0, 3), st.just(2))),
}
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "str": text,
    "int": int64,
    "float": float32,
    "bool": st.booleans(),
    "bytes": st.binary(),
    "np_float32": float32,
    "np_float64": st.floats(),
    "np_int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "np_int64": int64,
    "np_uint32": st.integers(0, (1 << 32) - 1),
    "np_uint64": st.integers(0, (1 << 64) - 1),
    "np_bool": st.booleans(),
}


def same(left: Any, right: Any) -> bool:
    """Compare two values: types, shapes and signs of zero too, and NaN is NaN."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        if left.dtype.kind != right.dtype.kind or left.shape != right.shape:
            return False
        if right.dtype.kind not in "fcV":
            return (left.dtype == right.dtype or right.dtype.kind in "US") and same(
                left.tolist(), right.tolist()
            )
        wide = np.complex128 if right.dtype.kind == "c" else np.float64
        return left.dtype == right.dtype and all(
            same(float(a.real), float(b.real)) and same(float(a.imag), float(b.imag))
            for a, b in zip(left.astype(wide).flat, right.astype(wide).flat, strict=True)
        )
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        signs_agree = math.copysign(1, left) == math.copysign(1, right)
        return (left == right and signs_agree) or (math.isnan(left) and math.isnan(right))
    return type(left) is type(right) and bool(left == right)


def strict_json(value: object) -> str:
    """Return JSON that every reader takes: no NaN."""
    return json.dumps(value, allow_nan=False)


def sent(schema: Schema, model: str, value: object) -> object:
    """Return what a server would get: the value after the codecs of the client have taken it."""
    method: UnaryMethod[object] = UnaryMethod(schema, rpc(schema, model))
    return method.read_arguments(method.encode({"value": value}, {}), {})["value"]


def check(schema: Schema, model: str, value: object) -> None:
    field = field_of(schema, model)
    read = from_json(field, parse_json(strict_json(to_json(field, value))))
    assert same(sent(schema, model, read), sent(schema, model, value))


def test_every_row_and_every_scalar_has_values() -> None:
    assert VALUES.keys() == rows.ROWS.keys()
    assert SCALARS.keys() == echo.SCALARS.keys()


@pytest.mark.parametrize("name", VALUES)
@some
@given(data=st.data())
def test_any_value_survives(name: str, data: st.DataObject) -> None:
    check(ROWS, name, data.draw(VALUES[name]))


@pytest.mark.parametrize("name", SCALARS)
@some
@given(data=st.data())
def test_any_scalar_survives(name: str, data: st.DataObject) -> None:
    value = data.draw(SCALARS[name])
    check(ECHO, name, value)
    check(ECHO, f"list_{name}", [value, value])
    check(ECHO, f"optional_{name}", data.draw(st.none() | st.just(value)))


@pytest.mark.parametrize("name", DTYPES)
@some
@given(data=st.data())
def test_any_tensor_survives(name: str, data: st.DataObject) -> None:
    sizes = st.integers(0, 3)
    check(ECHO, f"scalar_tensor_{name}", data.draw(arrays(DTYPES[name], st.just(()))))
    array = data.draw(arrays(DTYPES[name], st.tuples(sizes, sizes)))
    check(ECHO, f"tensor_{name}", array)
    # Of no declared type, dtype and shape are in the JSON.
    written = parse_json(strict_json(array_to_json(array, None)))
    assert same(array_from_json(written, None), array)


@pytest.mark.parametrize("name", ["kind", "mode", "when", "took", "level"])
@some
@given(data=st.data())
def test_what_needs_no_quotes_survives_without(name: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[name])
    field = field_of(ROWS, name)
    written = to_json(field, value)
    assert same(from_text(field, written if isinstance(written, str) else str(written)), value)


@some
@given(value=text)
def test_a_string_is_the_text_as_it_is(value: str) -> None:
    assert from_text(field_of(ECHO, "str"), value) == value


@pytest.mark.parametrize(
    ("model", "text", "value"),
    [
        ("str", "null", "null"),
        ("optional_str", "null", None),
        ("optional_str", "nul", "nul"),
        ("optional_int", "null", None),
        ("int", "-3", -3),
        ("float", "NaN", math.nan),
        ("float", "-Infinity", -math.inf),
        ("bool", "true", True),
        ("bytes", "AP8=", b"\0\xff"),
        ("list_bytes", '["AA=="]', [b"\0"]),
        ("list_float", '[1, "NaN"]', [1, math.nan]),
        ("tensor_float", "[[1,2],[3,4]]", np.array([[1, 2], [3, 4]], np.float32)),
        ("tensor_float", "[]", np.empty((0, 0), np.float32)),
        ("tensor_bytes", '[["AA==","Yg=="]]', None),
        ("scalar_tensor_int8", "-128", np.array(-128, np.int8)),
        ("tensor_complex64", '[[1, "1-2j", "NaN"]]', np.array([[1, 1 - 2j, math.nan]], "c8")),
        (
            "tensor_int32",
            '{"dtype": "int32", "shape": [0, 5], "data": []}',
            np.empty((0, 5), np.int32),
        ),
    ],
)
def test_texts(model: str, text: str, value: object) -> None:
    if model == "tensor_bytes":
        with pytest.raises(WireError, match=r"^\[0\]\[0\]: NumPy cannot hold"):
            from_text(field_of(ECHO, model), text)
    else:
        assert same(from_text(field_of(ECHO, model), text), value)


@pytest.mark.parametrize(
    ("schema", "model", "text", "message"),
    [
        (ECHO, "int", "three", "not JSON at column 1: Expecting value"),
        (ECHO, "list_int", "[1,\n2,,]", "not JSON at line 2, column 3: Expecting value"),
        (ECHO, "list_int", "[" * 100_000, "nested too deeply"),
        (ECHO, "int", "1" * 5000, "not JSON: a number of too many digits"),
        (ECHO, "bytes", "é", "not base64"),
        (ECHO, "bytes", "a", "not base64"),
        (ECHO, "list_bytes", '["AA==", "?"]', r"\[1\]: not base64"),
        (ECHO, "tensor_float", "[[1],[2,3]]", "lists of one depth differ in length: 1 and 2"),
        (ECHO, "tensor_float", "[[1],2]", "lists of one depth differ in length: 1 and none"),
        (ECHO, "tensor_float", "[[1,[2]]]", r"\[0\]\[1\]: expected float, got list"),
        (ECHO, "tensor_float", '[[1,"a"]]', r"\[0\]\[1\]: expected float, got str"),
        (ECHO, "tensor_float", "[[1,null]]", r"\[0\]\[1\]: expected float, got null"),
        (ECHO, "tensor_float", "[[true]]", r"\[0\]\[0\]: expected float, got bool"),
        (ECHO, "tensor_float", "[[1],[1e300]]", r"\[1\]\[0\]: out of range for float32"),
        (ECHO, "scalar_tensor_float16", "65536", "out of range for float16"),
        (ECHO, "tensor_double", f"[[1{'0' * 400}]]", r"\[0\]\[0\]: out of range for float64"),
        (ECHO, "tensor_int32", "[[1.5]]", r"\[0\]\[0\]: expected int, got float"),
        (ECHO, "tensor_uint8", "[[256]]", r"\[0\]\[0\]: out of range for uint8"),
        (ECHO, "tensor_uint8", "[[-1]]", r"\[0\]\[0\]: out of range for uint8"),
        (ECHO, "tensor_bool", "[[1]]", r"\[0\]\[0\]: expected bool, got int"),
        (ECHO, "tensor_string", "[[1]]", r"\[0\]\[0\]: expected str, got int"),
        (ECHO, "tensor_string", '[["a\\u0000"]]', r"\[0\]\[0\]: NumPy cannot hold"),
        (ECHO, "tensor_bytes", '[["?"]]', r"\[0\]\[0\]: not base64"),
        (ECHO, "tensor_bytes", "[[1]]", r"\[0\]\[0\]: expected bytes as base64, got int"),
        (ECHO, "tensor_complex64", '[["1+"]]', r"\[0\]\[0\]: '1\+' is no complex number"),
        (ECHO, "tensor_float", "{}", "no tensor; write nested lists"),
        (
            ECHO,
            "tensor_float",
            '{"dtype": "float32", "shape": [2], "data": [1]}',
            r"data: 1 elements do not fill \(2,\)",
        ),
        (
            ECHO,
            "tensor_float",
            '{"dtype": "float32", "shape": [-1], "data": []}',
            "shape: a shape is a list of sizes",
        ),
        (
            ECHO,
            "tensor_float",
            '{"dtype": "float32", "shape": [0, 4611686018427387904, 4], "data": []}',
            "shape: more dimensions or sizes than NumPy has",
        ),
        (
            ECHO,
            "tensor_float",
            '{"dtype": "float32", "shape": [2], "data": [1, "x"]}',
            r"data\[1\]: expected float, got str",
        ),
        (
            ECHO,
            "tensor_float",
            '{"dtype": "quad", "shape": [1], "data": [1]}',
            "unknown dtype 'quad'",
        ),
        (ROWS, "when", "yesterday", "no time: 'yesterday'; write 2026-01-31T12:00:00Z"),
        (ROWS, "when", "2026-01-31T12:00:00", "no time zone; write 2026-01-31T12:00:00Z"),
        (ROWS, "took", "soon", "no seconds: 'soon'; write 1.5"),
        (ROWS, "took", "NaN", "no seconds: 'NaN'; write 1.5"),
        (ROWS, "took", "1e999999999", "out of range for a duration"),
        (ROWS, "times", '["2026-01-31T12:00:00Z", "x"]', r"\[1\]: no time: 'x'"),
        (ROWS, "document", '{"parts": [{"raw": "?"}]}', r"parts\[0\]\.raw: not base64"),
        (ROWS, "document", '{"by_name": {"a": {"took": []}}}', r"by_name\['a'\]\.took: expected"),
        (ROWS, "named_arrays", '{"a": "b"}', r"\['a'\]: 'b' is no complex number"),
    ],
)
def test_what_stands_for_no_value(schema: Schema, model: str, text: str, message: str) -> None:
    with pytest.raises(WireError, match=f"^{message}"):
        from_text(field_of(schema, model), text)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("span", "[1]"),
        ("spans", "[1]"),
        ("kinds", "{}"),
        ("document", '{"nothing": 1}'),
        ("spans", '{"01": {"start": 1}}'),
        ("spans", '{"x": {"start": 1}}'),
        ("kind", "nothing"),
        ("mode", "slow"),
        ("jax", "[[1, 2, 3]]"),
        ("brains", "[[1]]"),
        ("arrays", "[[1], [1, 2]]"),
        ("widths", '["1"]'),
    ],
)
def test_what_is_of_another_type_is_left_to_the_client(model: str, text: str) -> None:
    value = from_text(field_of(ROWS, model), text)
    method: UnaryMethod[object] = UnaryMethod(ROWS, rpc(ROWS, model))
    with pytest.raises(InvalidArgument, match=r"^value"):
        method.encode({"value": value}, {})


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    """The schema of other people's services."""
    file = tmp_path_factory.mktemp("zoo") / "zoo.binpb"
    arguments = ["", f"-I{ROOT}", "--include_imports", f"--descriptor_set_out={file}"]
    include = resources.files("grpc_tools").joinpath("_proto")
    assert protoc.main([*arguments, f"-I{include}", "tests/protos/zoo.proto"]) == 0
    return Schema(FileDescriptorSet.FromString(file.read_bytes()).file)


def test_messages_of_others_survive(zoo: Schema) -> None:
    known = {
        "at": datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
        "lasting": timedelta(seconds=-1.5),
        "text": "",
        "count": -1,
        "answers": [True, False],
        "data": {"fields": {"a": {"string_value": "b"}}},
        "any": {"type_url": "x/y", "value": b"z"},
        "mask": {"paths": ["a.b"]},
        "doubles": {"x": math.inf},
    }
    animal = {
        "class": -(2**63),
        "size": 77,
        "weight": -0.0,
        "tags": [1, 2**32 - 1],
        "cages": {"x": {"number": 2**64 - 1, "lock": "SHUT"}},
        "flags": {True: -1, False: 0},
        "parent": {"from": "there"},
        "ancestor": {"name": "Rex", "diet": ["PLANTS"], "visit": [{"day": -1}]},
        "photo": b"\x00\xff",
    }
    for name, value in {"Known": known, "Animal": animal}.items():
        descriptor = zoo.message(f"zoo.v1.{name}")
        written = parse_json(strict_json(message_to_json(descriptor, value)))
        assert isinstance(written, dict)
        assert same(message_from_json(descriptor, written), value)


def test_a_tensor_of_no_declared_type_says_its_own() -> None:
    with pytest.raises(WireError, match="of no declared dtype; write "):
        array_from_json([1], None)


def test_wrappers_are_what_they_hold(zoo: Schema) -> None:
    fields = zoo.message("zoo.v1.Known").fields_by_name
    assert from_text(fields["text"], "null") is None
    assert from_text(fields["text"], "3") == "3"
    assert from_text(fields["count"], "3") == 3
    assert [kind_of(fields[name]) for name in ("text", "count", "answers", "doubles", "at")] == [
        "str",
        "int",
        "list",
        "dict",
        "datetime",
    ]
