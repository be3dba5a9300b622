from __future__ import annotations

import pytest
from google.protobuf import text_format
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
    # Sizes: what each has to be, and which have to agree.
    (
        "(x: TensorInput[np.int8, 'n', 'n']) -> int",
        "(x: TensorInput[np.int8, 'k', 'k']) -> int",
        [],
    ),
    (
        "(x: TensorInput[np.int8, 'n', 'm']) -> int",
        "(x: TensorInput[np.int8, 'n', 'n']) -> int",
        ["breaking: MRequest.x: shape (n, m) → (n, n)"],
    ),
    (
        "(x: TensorInput[np.int8, 'n', 'n']) -> int",
        "(x: TensorInput[np.int8, 'n', 'm']) -> int",
        ["compatible: MRequest.x: shape (n, n) → (n, m)"],
    ),
    (
        "(x: TensorInput[np.int8, 'n'], y: TensorInput[np.int8, 'm']) -> int",
        "(x: TensorInput[np.int8, 'n'], y: TensorInput[np.int8, 'n']) -> int",
        ["breaking: MRequest.x: shape (n,)", "breaking: MRequest.y: shape (m,) → (n,)"],
    ),
    (
        "(x: TensorInput[np.int8, 3], y: TensorInput[np.int8, 4]) -> int",
        "(x: TensorInput[np.int8, 'n'], y: TensorInput[np.int8, 'n']) -> int",
        ["breaking: MRequest.x: shape (3,)", "breaking: MRequest.y: shape (4,) → (n,)"],
    ),
    (
        "(x: TensorInput[np.int8, 3], y: TensorInput[np.int8, 3]) -> int",
        "(x: TensorInput[np.int8, 'n'], y: TensorInput[np.int8, 'n']) -> int",
        ["compatible: MRequest.x: shape (3,)", "compatible: MRequest.y: shape (3,) → (n,)"],
    ),
    (
        "(x: TensorInput[np.int8, 'n']) -> TensorOutput[np.int8, 'n']",
        "(x: TensorInput[np.int8, 'n']) -> TensorOutput[np.int8, 'm']",
        ["breaking: MResponse.result: shape (n,) → (m,)"],
    ),
    (
        "(x: TensorInput[np.int8, 'n']) -> TensorOutput[np.int8, 'm']",
        "(x: TensorInput[np.int8, 'n']) -> TensorOutput[np.int8, 'n']",
        ["compatible: MResponse.result: shape (m,) → (n,)"],
    ),
    (
        "(x: TensorInput[np.int8, 'n'], y: TensorInput[np.int8, 'm']) -> int",
        "(y: TensorInput[np.int8, 'n'], x: TensorInput[np.int8, 'm']) -> int",
        ["breaking: MRequest.x: number 1 → 2", "breaking: MRequest.y: number 2 → 1"],
    ),
    # Absence: None, or the default.
    (
        point("y: int = 3") + GIVES_POINT,
        point("y: int | None = None") + GIVES_POINT,
        ["breaking: Point.y: default 3 → None"],
    ),
    (
        point("y: int | None = None") + GIVES_POINT,
        point("y: int = 3") + GIVES_POINT,
        ["compatible: Point.y: default None → 3"],
    ),
    (
        point("y: int | None = None") + TAKES_POINT,
        point("y: int = 3") + TAKES_POINT,
        ["breaking: Point.y: default None → 3"],
    ),
    (
        point("y: int = 3") + TAKES_POINT,
        point("y: int = 4") + TAKES_POINT,
        ["compatible: Point.y: default 3 → 4"],
    ),
    (
        "(x: int | None = None) -> int",
        "(x: int = 3) -> int",
        ["compatible: MRequest.x: default None → 3"],
    ),
    # Names of classes are not on the wire.
    (
        point("x: int") + TAKES_POINT,
        point("x: int").replace("Point", "Place") + TAKES_POINT.replace("Point", "Place"),
        ["compatible: MRequest.p: Point is called Place"],
    ),
    (
        point("x: int") + TAKES_POINT,
        point("x: str").replace("Point", "Place") + TAKES_POINT.replace("Point", "Place"),
        ["compatible: MRequest.p: Point is called Place", "breaking: Point.x: int (int64) → str"],
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


def test_a_model_that_is_not_idempotent_any_more_breaks_clients_that_call_it_again() -> None:
    schemas = []
    for idempotent in (True, False):
        app = BlazeApp()
        app.model("m", idempotent=idempotent)(define("def model(x: int) -> int: ..."))
        schemas.append(build_schema(app.registry))
    where = "blazerpc.InferenceService.PredictM"
    (lost,) = compare(*schemas)
    assert str(lost) == f"breaking: {where}: is idempotent → is not"
    (gained,) = compare(*reversed(schemas))
    assert str(gained) == f"compatible: {where}: is not idempotent → is"


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


ZOO = """
name: "zoo.proto" package: "zoo" syntax: "proto3"
message_type {
  name: "M"
  field { name: "a" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL }
  field { name: "b" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
  MORE
}
message_type { name: "Empty" }
service {
  name: "S"
  method { name: "Go" input_type: ".zoo.REQUEST" output_type: ".zoo.RESPONSE" }
}
"""
ONEOF = 'oneof_decl { name: "c" }'


@pytest.mark.parametrize(
    ("request_type", "response_type", "together", "alone"),
    [("M", "Empty", "breaking", "compatible"), ("Empty", "M", "compatible", "breaking")],
)
def test_fields_come_into_a_oneof_and_leave_it(
    request_type: str, response_type: str, together: str, alone: str
) -> None:
    def schema(*, oneof: bool) -> Schema:
        text = ZOO.replace("REQUEST", request_type).replace("RESPONSE", response_type)
        text = text.replace("MORE", ONEOF if oneof else "")
        if oneof:
            text = text.replace("LABEL_OPTIONAL }", "LABEL_OPTIONAL oneof_index: 0 }")
        return Schema([text_format.Parse(text, FileDescriptorProto())])

    def told(old: Schema, new: Schema) -> list[str]:
        found = [change for change in compare(old, new) if "oneof" in change.what]
        return [f"{change.verdict} {change.where}: {change.what}" for change in found]

    apart, one = schema(oneof=False), schema(oneof=True)
    fields = ("zoo.M.a", "zoo.M.b")
    assert told(apart, one) == [f"{together} {field}: no oneof → c" for field in fields]
    assert told(one, apart) == [f"{alone} {field}: c → no oneof" for field in fields]


@pytest.mark.parametrize(
    ("request_type", "response_type", "verdicts"),
    [("M", "Empty", ["breaking", "breaking"]), ("Empty", "M", ["compatible", "breaking"])],
)
def test_a_field_of_another_service_becomes_optional_and_back(
    request_type: str, response_type: str, verdicts: list[str]
) -> None:
    def schema(*, optional: bool) -> Schema:
        text = ZOO.replace("REQUEST", request_type).replace("RESPONSE", response_type)
        text = text.replace("MORE", ONEOF if optional else "")
        if optional:
            presence = "LABEL_OPTIONAL proto3_optional: true oneof_index: 0 }"
            text = text.replace("LABEL_OPTIONAL }", presence, 1)
        return Schema([text_format.Parse(text, FileDescriptorProto())])

    plain, optional = schema(optional=False), schema(optional=True)
    told = [compare(plain, optional), compare(optional, plain)]
    assert [[str(change.verdict) for change in changes] for changes in told] == [
        [verdict] for verdict in verdicts
    ]
