"""Protobuf's JSON is read as protobuf reads it; what is wrong is named in a short line."""

from __future__ import annotations

import enum
import json
from typing import Any

import httpx
import pytest
from google.protobuf import json_format, message_factory

from blazerpc import BlazeApp, ServeOptions
from blazerpc.codegen.schema import build_schema
from blazerpc.rest.messages import fill
from blazerpc_client.wire.errors import WireError
from tests.apps.rows import app as rows
from tests.unit.blazerpc.support import running

SCHEMA = build_schema(rows.registry)


def message(name: str) -> Any:
    return message_factory.GetMessageClass(SCHEMA.message(f"blazerpc.{name}"))()


TENSOR = {"shape": ["2"], "dtype": "float", "data": "AACAPwAAAEA="}
SPAN = {"start": "-3", "end": 4}
DOCUMENT: dict[str, Any] = {
    "title": "grüß",
    "raw": "_-8",
    "score": 1,
    "embedding": TENSOR,
    "kind": "KIND_NOTE",
    "mode": "fast",
    "when": "2024-01-01T00:00:00.5+01:00",
    "took": "-1.5s",
    "span": SPAN,
    "extra": {"source": "", "weight": "Infinity"},
    "by_number": {"7": SPAN, "-8": {}},
    "images": [{"shape": [1, 1], "dtype": "uint8", "data": "/w=="}, {}],
    "flags": [True, False],
    "level": -1,
    "topK": 1e3,
    "settings": {"temperature": "1.5e2", "stop": ["a", ""], "level": "10"},
    "halves": None,
}


def test_it_is_read_as_protobuf_reads_it() -> None:
    inner = {**DOCUMENT, "note": "", "raw": "+/8="}
    whole = {"value": {**DOCUMENT, "parts": [inner, {}], "byName": {"": inner}}}
    ours, theirs = message("DocumentRequest"), message("DocumentRequest")
    fill(ours, whole)
    json_format.ParseDict(whole, theirs)
    assert ours == theirs
    again = message("DocumentRequest")
    fill(again, json.loads(json_format.MessageToJson(theirs)))
    assert again == theirs


@pytest.mark.parametrize(
    ("name", "value", "same"),
    [
        ("Kind", "NOTE", "KIND_NOTE"),
        ("Kinds", ["NOTE", "KIND_ARTICLE", 1], ["KIND_NOTE", "KIND_ARTICLE", "KIND_ARTICLE"]),
        ("Levels", {"a": "HIGH", "b": "LOW"}, {"a": "LEVEL_HIGH", "b": 0}),
    ],
)
def test_members_of_enums_may_be_their_names_in_python(
    name: str, value: object, same: object
) -> None:
    ours, theirs = message(f"{name}Request"), message(f"{name}Request")
    fill(ours, {"value": value})
    json_format.ParseDict({"value": same}, theirs)
    assert ours == theirs


OUT = "value is out of range for int32"
NESTED: dict[str, Any] = {}
for _ in range(101):
    NESTED = {"parts": [NESTED]}


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("Kind", "BLUE", "value: expected one of ARTICLE, NOTE, got 'BLUE'"),
        ("Kind", 1.5, "value: expected int, got float"),
        ("Kind", [1], "value: expected int, got list"),
        ("Level", "x", "value: expected one of LOW, HIGH, BELOW, got 'x'"),
        ("Widths", 3, "value: expected list, got int"),
        ("Widths", [1, None], "value[1]: expected int, got NoneType"),
        ("Widths", [1, "2x"], "value[1]: expected int, got '2x'"),
        ("Widths", [True], "value[0]: expected int, got bool"),
        (
            "Widths",
            [2**31],
            f"value[0]: {OUT} (-2147483648 to 2147483647)",
        ),
        ("Widths", ["9" * 5000], f"value[0]: expected int, got '{'9' * 40}'"),
        ("Scores", {"a": True}, "value['a']: expected float, got bool"),
        ("Scores", {"a": "0x1"}, "value['a']: expected float, got '0x1'"),
        ("Scores", {"a": 10**400}, "value['a']: value is out of range for a 64-bit float"),
        (
            "Scores",
            {"a": float("nan")},
            'value[\'a\']: JSON has no such number; write "NaN", "Infinity" or "-Infinity"',
        ),
        ("Scores", [], "value: expected object, got list"),
        ("Spans", {"one": {}}, "value['one']: expected int, got 'one'"),
        ("Spans", {"1": None}, "value['1']: expected object, got null"),
        ("Spans", {"1": {"x": 1}}, "value['1']: no field 'x'; there are: start, end"),
        ("Span", {"y\n" * 500: 1}, "value: no field '" + r"y\n" * 20 + "'; there are: start, end"),
        ("Span", "x" * 500, f"value: expected object, got '{'x' * 40}'"),
        ("Document", {"raw": "a"}, "value.raw: not base64, which bytes are written in"),
        ("Document", {"raw": "grüß"}, "value.raw: not base64, which bytes are written in"),
        ("Document", {"raw": [1]}, "value.raw: expected str, got list"),
        ("Document", {"flags": [1]}, "value.flags[0]: expected bool, got int"),
        ("When", "now", "value: no time: 'now'; write 2026-01-31T12:00:00Z"),
        ("When", 7, "value: expected str, got int"),
        ("Took", "1 hour", "value: no time: '1 hour'; write 1.5s"),
        (
            "Arrays",
            [[1, 2]],
            "value[0]: expected float32 (n,) as "
            '{"shape": [...], "dtype": "...", "data": base64}, got list',
        ),
        (
            "NamedArrays",
            {"a": [1, 2]},
            "value['a']: expected complex64 () as "
            '{"shape": [...], "dtype": "...", "data": base64}, got list',
        ),
        ("Arrays", [{"shape": "2"}], "value[0].shape: expected list, got '2'"),
    ],
)
def test_what_is_wrong_is_named(name: str, value: object, text: str) -> None:
    with pytest.raises(WireError) as refused:
        fill(message(f"{name}Request"), {"value": value})
    assert str(refused.value) == text


def test_an_unknown_field_is_told_which_there_are() -> None:
    with pytest.raises(WireError, match=r"^no field 'x'; there are: value$"):
        fill(message("KindRequest"), {"x": 1})


def test_no_message_is_deeper_than_protobuf_reads() -> None:
    with pytest.raises(WireError, match="nested deeper than the 100 levels that protobuf reads"):
        fill(message("DocumentRequest"), {"value": NESTED})


class Color(enum.Enum):
    RED = "red"
    GREEN = "green"


async def test_an_enum_is_asked_for_as_it_is_taken() -> None:
    app = BlazeApp()

    @app.model("paint")
    def paint(c: Color) -> Color:
        return c

    server = app.server(ServeOptions(port=0, http_port=0))
    async with running(server), httpx.AsyncClient() as client:
        path = f"http://127.0.0.1:{server.face_port}/v1/models/paint:predict"
        for taken in ("RED", "COLOR_RED", 1):
            answer = await client.post(path, json={"c": taken})
            assert answer.json() == {"result": "COLOR_RED"}
        for wrong, got in (({}, "; got none of them"), ({"c": "BLUE"}, ", got 'BLUE'")):
            answer = await client.post(path, json=wrong)
            assert answer.status_code == 400
            assert answer.json()["error"] == f"c: expected one of RED, GREEN{got}"
