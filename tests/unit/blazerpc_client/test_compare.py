from __future__ import annotations

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from blazerpc import BlazeApp
from blazerpc.codegen.schema import build_schema
from blazerpc_client import Schema
from blazerpc_client.compare import compare
from tests.apps import rows
from tests.unit.blazerpc.support import define

PRELUDE = """
import dataclasses, enum
from datetime import datetime, timedelta
from typing import Literal
"""


def schema_of(source: str) -> Schema:
    """Return the schema of one model, ``m``, or of what else ``source`` registers."""
    app = BlazeApp()
    body = source if "def model" in source else f"def model{source}: ..."
    app.model("m")(define(PRELUDE + body))
    return build_schema(app.registry)


def point(*fields: str) -> str:
    body = "".join(f"    {field}\n" for field in fields)
    return f"@dataclasses.dataclass\nclass Point:\n{body}"


def color(*members: str) -> str:
    return "class Color(enum.Enum):\n" + "".join(f"    {member}\n" for member in members)


SENT = "def model(c: Color) -> int: ..."
RECEIVED = "def model(x: int) -> Color: ..."
TAKES_POINT = "def model(p: Point) -> int: ..."
GIVES_POINT = "def model(x: int) -> Point: ..."
BOTH = "def model(p: Point) -> Point: ..."

CHANGES = [
    # What a client sends.
    ("(x: int) -> int", "(x: int) -> int", []),
    ("(x: int) -> int", "(x: int, y: int) -> int", ["breaking: MRequest.y: a required field"]),
    (
        "(x: int) -> int",
        "(x: int, y: int = 1) -> int",
        ["compatible: MRequest.y: an optional"],
    ),
    ("(x: int, y: int) -> int", "(x: int) -> int", ["breaking: MRequest.y: the field is gone"]),
    (
        "(x: int) -> int",
        "(z: int) -> int",
        ["breaking: MRequest.x: ", "breaking: MRequest.z"],
    ),
    (
        "(x: int, y: int) -> int",
        "(y: int, x: int) -> int",
        ["breaking: MRequest.x: number 1 → 2", "breaking: MRequest.y: number 2 → 1"],
    ),
    ("(x: int) -> int", "(x: str) -> int", ["breaking: MRequest.x: int (int64) → str (string)"]),
    (
        "(x: int) -> int",
        "(x: np.int32) -> int",
        ["breaking: MRequest.x: int (int64) → int ("],
    ),
    ("(x: int) -> int", "(x: list[int]) -> int", ["breaking: MRequest.x: int (int64) → list[int]"]),
    ("(x: int) -> int", "(x: int = 3) -> int", ["compatible: MRequest.x: required → optional"]),
    ("(x: int = 3) -> int", "(x: int) -> int", ["breaking: MRequest.x: optional → required"]),
    ("(x: int = 3) -> int", "(x: int = 4) -> int", ["compatible: MRequest.x: default 3 → 4"]),
    (
        "(x: dict[str, int]) -> int",
        "(x: dict[int, int]) -> int",
        ["breaking: MRequest.x: dict[str, int] (int64) → dict[int, int] (int64)"],
    ),
    ("(x: datetime) -> int", "(x: timedelta) -> int", ["breaking: MRequest.x: datetime (message)"]),
    (
        "(x: Literal['a', 'b']) -> int",
        "(x: Literal['b', 'c']) -> int",
        [
            'breaking: MRequest.x: allowed value "a" is gone',
            'compatible: MRequest.x: a new allowed value "c"',
        ],
    ),
    ("(x: str) -> int", "(x: Literal['a']) -> int", ["breaking: MRequest.x: any value → allowed"]),
    (
        "(x: Literal['a']) -> int",
        "(x: str) -> int",
        ["compatible: MRequest.x: allowed values →"],
    ),
    (
        "(x: TensorInput[np.int8, 'n']) -> int",
        "(x: TensorInput[np.int16, 'n']) -> int",
        ["breaking: MRequest.x: int8 (n,) → int16 (n,)"],
    ),
    (
        "(x: TensorInput[np.int8, 'n']) -> int",
        "(x: TensorInput[np.int8, 'n', 2]) -> int",
        ["breaking: MRequest.x: shape (n,) → (n, 2)"],
    ),
    (
        "(x: TensorInput[np.int8, 2]) -> int",
        "(x: TensorInput[np.int8, 'n']) -> int",
        ["compatible: MRequest.x: shape (2,) → (n,)"],
    ),
    (
        "(x: TensorInput[np.int8, 'n']) -> int",
        "(x: TensorInput[np.int8, 2]) -> int",
        ["breaking: MRequest.x: shape (n,) → (2,)"],
    ),
    (
        color("A = 1", "B = 2") + SENT,
        color("A = 1") + SENT,
        ["breaking: Color.B: the value"],
    ),
    (color("A = 1") + SENT, color("A = 1", "B = 2") + SENT, ["compatible: Color.B: a new value"]),
    (color("A = 1") + SENT, color("A = 3") + SENT, ["breaking: Color.A: number 1 → 3"]),
    (
        point("x: int") + TAKES_POINT,
        point("x: int", "y: int") + TAKES_POINT,
        ["breaking: Point.y: a required field was added"],
    ),
    # What a client receives.
    ("(x: int) -> int", "(x: int) -> str", ["breaking: MResponse.result: int (int64) → str"]),
    ("(x: int) -> int", "(x: int) -> Iterator[int]", ["breaking: m: one result → a stream"]),
    ("(x: int) -> Iterator[int]", "(x: int) -> int", ["breaking: m: a stream → one result"]),
    ("(x: int) -> int", "(x: int) -> int | None", ["breaking: MResponse.result: required → opt"]),
    ("(x: int) -> int | None", "(x: int) -> int", ["compatible: MResponse.result: optional → req"]),
    (
        "(x: int) -> Literal['a', 'b']",
        "(x: int) -> Literal['b', 'c']",
        [
            'compatible: MResponse.result: allowed value "a" is gone',
            'breaking: MResponse.result: a new allowed value "c"',
        ],
    ),
    (
        "(x: int) -> TensorOutput[np.int8, 2]",
        "(x: int) -> TensorOutput[np.int8, 'n']",
        ["breaking: MResponse.result: shape (2,) → (n,)"],
    ),
    (
        "(x: int) -> TensorOutput[np.int8, 'n']",
        "(x: int) -> TensorOutput[np.int8, 2]",
        ["compatible: MResponse.result: shape (n,) → (2,)"],
    ),
    (color("A = 1") + RECEIVED, color("A = 1", "B = 2") + RECEIVED, ["compatible: Color.B: a new"]),
    (
        point("x: int") + GIVES_POINT,
        point("x: int", "y: int") + GIVES_POINT,
        ["compatible: Point.y: a new field was added"],
    ),
    # Both: the worse of the two.
    (
        point("x: Literal['a']") + BOTH,
        point("x: Literal['a', 'b']") + BOTH,
        ['breaking: Point.x: a new allowed value "b"'],
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES)
def test_a_change_is_told_apart(old: str, new: str, expected: list[str]) -> None:
    service = "blazerpc.InferenceService.PredictM"
    told = [
        str(change).replace(service, "m").replace("blazerpc.", "")
        for change in compare(schema_of(old), schema_of(new))
    ]
    assert len(told) == len(expected), told
    for line, start in zip(told, expected, strict=True):
        assert line.startswith(start)


def test_documentation_is_no_change() -> None:
    documented = "def model(x: int) -> int:\n    'Say so.'\n    return x"
    assert compare(schema_of("(x: int) -> int"), schema_of(documented)) == []


def test_methods_come_and_go() -> None:
    one, two = BlazeApp(), BlazeApp()
    for app, name in [(one, "a"), (one, "b"), (two, "b"), (two, "c")]:
        app.model(name)(define("def model(x: int) -> int: ..."))
    changes = compare(build_schema(one.registry), build_schema(two.registry))
    service = "blazerpc.InferenceService"
    assert [str(change) for change in changes] == [
        f"breaking: {service}.PredictA: the method is gone",
        f"compatible: {service}.PredictC: a new method",
    ]
    (gone,) = compare(build_schema(one.registry), Schema([]))
    assert str(gone) == f"breaking: {service}: the service is gone"


def test_a_method_may_begin_to_take_a_stream() -> None:
    def schema(*, client: bool, server: bool) -> Schema:
        file = FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
        file.message_type.add(name="M")
        file.service.add(name="S").method.add(
            name="Go",
            input_type=".a.M",
            output_type=".a.M",
            client_streaming=client,
            server_streaming=server,
        )
        return Schema([file])

    before, after = schema(client=False, server=True), schema(client=True, server=False)
    assert [str(change) for change in compare(before, after)] == [
        "breaking: a.S.Go: one request → a stream of requests",
        "breaking: a.S.Go: a stream → one result",
    ]
    assert [str(change) for change in compare(after, before)] == [
        "breaking: a.S.Go: a stream of requests → one request",
        "breaking: a.S.Go: one result → a stream",
    ]


def test_classes_that_hold_themselves_are_compared_once() -> None:
    schema = build_schema(rows.app.registry)
    assert compare(schema, schema) == []
