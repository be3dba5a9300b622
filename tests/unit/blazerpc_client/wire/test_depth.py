from __future__ import annotations

from dataclasses import dataclass

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Value

from blazerpc import BlazeApp
from blazerpc.codegen.schema import build_schema
from blazerpc_client import BlazeClient, Internal, InvalidArgument
from blazerpc_client.wire.depth import MAX_DEPTH, is_recursive
from tests.unit.blazerpc_client.servers import serving

app = BlazeApp()


@dataclass
class Node:
    children: list[Node]
    named: dict[str, Node]
    next: Node | None = None


@dataclass
class Leaf:
    x: int


@app.model("node")
def node(value: Node) -> Leaf:
    return Leaf(0)


@app.model("chain")
def chain(depth: int) -> Node:
    made = Node([], {})
    for _ in range(depth):
        made = Node([], {}, made)
    return made


def nested(depth: int, step: str) -> dict[str, object]:
    """Return a node with others inside it, ``depth`` messages deep."""
    made: dict[str, object] = {"children": [], "named": {}}
    for _ in range(depth):
        inner = {"children": [made], "named": {"a": made}, "next": made}[step]
        made = {"children": [], "named": {}} | {step: inner}
    return made


def test_types_that_hold_themselves_are_known() -> None:
    schema = build_schema(app.registry)
    assert is_recursive(schema.message("blazerpc.NodeRequest"))
    assert not is_recursive(schema.message("blazerpc.NodeResponse"))


@pytest.mark.parametrize(("step", "levels"), [("children", 1), ("next", 1), ("named", 2)])
async def test_what_is_sent_can_be_read(step: str, levels: int) -> None:
    most = (MAX_DEPTH - 1) // levels  # the node itself is in a request
    async with serving(app) as target:
        host, _, port = target.rpartition(":")
        async with BlazeClient(host, int(port)) as client:
            assert await client.predict("node", value=nested(most, step)) == {"x": 0}
            for depth in (most + 1, 5000):
                with pytest.raises(InvalidArgument, match="nested deeper than the 100 levels"):
                    await client.predict("node", value=nested(depth, step))


async def test_a_result_that_nobody_could_read_is_the_models_failure() -> None:
    async with serving(app) as target:
        host, _, port = target.rpartition(":")
        async with BlazeClient(host, int(port)) as client:
            assert await client.predict("chain", depth=MAX_DEPTH - 1)
            for depth in (MAX_DEPTH, 5000):
                with pytest.raises(Internal, match="error id"):
                    await client.predict("chain", depth=depth)


def test_the_limit_is_protobufs() -> None:
    def chained(lists: int) -> bytes:
        value = inner = Value()
        for _ in range(lists):  # a list is two levels: ListValue and Value
            inner = inner.list_value.values.add()
        return value.SerializeToString()

    Value.FromString(chained(MAX_DEPTH // 2))
    with pytest.raises(DecodeError):
        Value.FromString(chained(MAX_DEPTH // 2 + 1))
