from __future__ import annotations

import itertools
import random

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.wire.malformed import malformed_field
from tests.unit.blazerpc_client.schemas import (
    Model,
    add_field,
    message_class,
    schema_of,
    schema_of_files,
    tensor,
)
from tests.unit.blazerpc_client.strategies import many

SCHEMA = schema_of(
    Model(
        parameters={
            "text": "string",
            "x": tensor("f4", "batch"),
            "ids": "repeated int64",
            "score": "double",
            "words": "repeated string",
            "raw": "bytes",
            "exact": "fixed32",
        }
    )
)
DESCRIPTOR = SCHEMA.message("blazerpc.EchoRequest")
Request = message_class(SCHEMA, "EchoRequest")

TEXT, X, IDS, SCORE, WORDS, RAW, EXACT = (
    b"\x0a",
    b"\x12",
    b"\x1a",
    b"\x21",
    b"\x2a",
    b"\x32",
    b"\x3d",
)
#: A valid message, field by field.
FIELDS = [
    ("text", TEXT + b"\x02\xc3\xa9"),
    ("x", X + b"\x0a" + b"\x0a\x01\x01" + b"\x12\x01f" + b"\x1a\x02\x00\x00"),
    ("ids", IDS + b"\x03\x01\x80\x01"),
    ("score", SCORE + b"\0" * 8),
    ("words", WORDS + b"\x01a"),
    ("words", WORDS + b"\x00"),
    ("raw", RAW + b"\x02\xff\xfe"),
    ("exact", EXACT + b"\0" * 4),
]
VALID = b"".join(data for _, data in FIELDS)


def refused(data: bytes) -> bool:
    try:
        Request.FromString(data)
    except DecodeError:
        return True
    return False


def paths(descriptor: Descriptor) -> set[str]:
    found: set[str] = set()
    for field in descriptor.fields:
        found.add(field.name)
        if field.message_type is not None:
            found |= {f"{field.name}.{path}" for path in paths(field.message_type)}
    return found


PATHS = paths(DESCRIPTOR)


def test_the_message_is_valid_as_it_is() -> None:
    assert not refused(VALID)
    assert malformed_field(VALID, DESCRIPTOR) is None
    assert malformed_field(b"", DESCRIPTOR) is None


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (TEXT + b"\x05ab", "text"),
        (TEXT, "text"),
        (TEXT + b"\x80", "text"),
        (TEXT + b"\xff\xff\xff\xff\x7fab", "text"),
        (TEXT + b"\x01\xff", "text"),
        (TEXT + b"\x03\xed\xa0\x80", "text"),
        (WORDS + b"\x01a" + WORDS + b"\x01\xff", "words"),
        (SCORE + b"\0" * 7, "score"),
        (EXACT + b"\0" * 3, "exact"),
        (b"\x18" + b"\x80" * 3, "ids"),
        (b"\x18" + b"\xff" * 10 + b"\x01", "ids"),
        (IDS + b"\x05\x01", "ids"),
        (X + b"\x03\x12\x01\xff", "x.dtype"),
        (X + b"\x03\x12\x05a", "x.dtype"),
        (X + b"\x02\x1a\x05", "x.data"),
        (X + b"\x09\x12\x01f", "x"),
        (b"\xa2\x06\x01a" + TEXT + b"\x01\xff", "text"),
    ],
)
def test_the_field_that_is_cut_short_or_no_text_is_named(data: bytes, field: str) -> None:
    assert refused(data)
    assert malformed_field(data, DESCRIPTOR) == field


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (IDS + b"\x01\x80", "ids"),
        (IDS + b"\x0b" + b"\xff" * 10 + b"\x01", "ids"),
        (X + b"\x03\x0a\x01\x80", "x.shape"),
    ],
)
def test_a_packed_list_that_holds_no_numbers_is_named(data: bytes, field: str) -> None:
    assert refused(data)
    assert malformed_field(data, DESCRIPTOR) == field


@pytest.mark.parametrize(
    "inner", [b"\x00\x00", b"\x80", b"\xff\xff\xff", b"\xa2\x06\x05a", b"\x0f"]
)
def test_a_field_whose_message_is_none_is_named(inner: bytes) -> None:
    data = X + bytes([len(inner)]) + inner
    assert refused(data)
    assert (malformed_field(data, DESCRIPTOR) or "").partition(".")[0] == "x"


@pytest.mark.parametrize(
    "data", [b"\x00\x00", b"\x80", b"\xff" * 20, b"\xa2\x06\x05a", b"\xa7\x06"]
)
def test_a_fault_outside_of_known_fields_has_no_name(data: bytes) -> None:
    assert refused(data)
    assert malformed_field(data, DESCRIPTOR) is None


def test_bytes_may_hold_anything() -> None:
    assert malformed_field(RAW + b"\x02\xff\xff", DESCRIPTOR) is None


def test_whatever_is_cut_off_within_a_field_is_named() -> None:
    position = 0
    for name, data in FIELDS:
        for length in range(1, len(data)):
            cut = VALID[: position + length]
            assert refused(cut)
            assert (malformed_field(cut, DESCRIPTOR) or "").partition(".")[0] == name
        position += len(data)
        assert malformed_field(VALID[:position], DESCRIPTOR) is None


def test_any_byte_may_be_any_other() -> None:
    for position, value in itertools.product(range(len(VALID)), range(256)):
        corrupt = VALID[:position] + bytes([value]) + VALID[position + 1 :]
        field = malformed_field(corrupt, DESCRIPTOR)
        assert field is None or field in PATHS


@many
@given(st.binary(max_size=60))
def test_any_bytes_name_a_field_or_none(data: bytes) -> None:
    field = malformed_field(data, DESCRIPTOR)
    assert field is None or field in PATHS


@pytest.mark.parametrize(
    "junk",
    [
        random.Random(0).randbytes(1 << 20),
        bytes(1 << 20),
        b"\xff" * (1 << 20),
        (TEXT + b"\x00") * (1 << 19),
        X * (1 << 20),
        b"\x0b" * (1 << 20),
        X + b"\xfc\xff\x3f" + b"\x0a" * ((1 << 20) - 4),
    ],
    ids=["random", "zeros", "ones", "empty fields", "nested", "groups", "one field"],
)
def test_a_megabyte_of_junk_is_answered(junk: bytes) -> None:
    field = malformed_field(junk, DESCRIPTOR)
    assert field is None or field in PATHS


def test_messages_deep_in_one_another_are_answered() -> None:
    file = FileDescriptorProto(name="node.proto", package="blazerpc", syntax="proto3")
    node = file.message_type.add(name="Node")
    add_field(node, "child", ".blazerpc.Node")
    add_field(node, "text", "string")
    descriptor = schema_of_files(file).message("blazerpc.Node")
    data = b"\x12\x01\xff"
    depths: dict[int, str | None] = {}
    for depth in range(1, 5000):
        size, length = len(data), b""
        while size > 0x7F:
            length += bytes([size & 0x7F | 0x80])
            size >>= 7
        data = b"\x0a" + length + bytes([size]) + data
        if depth in (1, 10, 4999):
            depths[depth] = malformed_field(data, descriptor)
    assert depths[1] == "child.text"
    assert depths[10] == "child." * 10 + "text"
    assert depths[4999] is None or depths[4999].startswith("child")
