"""Large tensors around protobuf, held against protobuf itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from blazerpc import BlazeApp, TensorInput, TensorOutput
from blazerpc.codegen.schema import build_schema
from blazerpc_client.wire.large import LARGE, LargeMessage, read_message
from blazerpc_client.wire.values import empty_message

app = BlazeApp()


@app.model("two")
def two(
    a: TensorInput[np.uint8, "n"], text: str, b: TensorInput[np.int16, "m"] | None = None
) -> TensorOutput[np.uint8, "n"]:
    return a


SCHEMA = build_schema(app.registry)
REQUEST: Any = message_factory.GetMessageClass(SCHEMA.message("blazerpc.TwoRequest"))
RESPONSE: Any = message_factory.GetMessageClass(SCHEMA.message("blazerpc.TwoResponse"))

BIG = bytes(range(256)) * (LARGE // 256 + 1)


def varint(value: int) -> bytes:
    data = b""
    while value >= 0x80:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


#: Pieces of a ``TensorProto``, each of which may come any number of times and in any order.
TENSOR = st.lists(
    st.one_of(
        st.integers(0, 300).map(lambda n: b"\x08" + varint(n)),  # a size, unpacked
        st.lists(st.integers(0, 300)).map(lambda s: field(1, b"".join(map(varint, s)))),
        st.sampled_from(["uint8", "int16", "float"]).map(lambda name: field(2, name.encode())),
        st.binary(max_size=20).map(lambda data: field(3, data)),
        st.just(field(3, BIG)),
        st.integers(4, 1000).map(lambda n: varint(n << 3) + b"\x05"),  # unknown ones
        st.just(varint(9 << 3 | 5) + b"1234"),
        st.just(varint(9 << 3 | 1) + b"12345678"),
    ),
    max_size=6,
).map(b"".join)

PIECES = st.lists(
    st.one_of(
        TENSOR.map(lambda tensor: field(1, tensor)),
        TENSOR.map(lambda tensor: field(3, tensor)),
        st.text(max_size=10).map(lambda text: field(2, text.encode())),
        st.integers(-(2**63), 2**63 - 1).map(lambda n: b"\x50" + varint(n % 2**64)),
        st.just(field(1, field(3, BIG))),
        st.just(field(77, BIG)),
    ),
    max_size=6,
).map(b"".join)


def parsed(data: bytes) -> Message | None:
    try:
        message: Message = REQUEST.FromString(data)
    except DecodeError:
        return None
    return message


def assert_read_as_protobuf_does(data: bytes) -> None:
    expected: Any = parsed(data)
    if expected is None:
        with pytest.raises(DecodeError):
            read_message(data, REQUEST)
        return
    message: Any = read_message(data, REQUEST)
    assert message.text == expected.text
    for name in ("a", "b"):
        assert message.HasField(name) == expected.HasField(name)
        got, wanted = getattr(message, name), getattr(expected, name)
        assert list(got.shape) == list(wanted.shape)
        assert got.dtype == wanted.dtype
        assert bytes(got.data) == wanted.data
    # Written again, it is the same message, unknown fields included.
    again = REQUEST.FromString(message.SerializeToString())
    assert again.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )
    assert message.ByteSize() == len(message.SerializeToString())


@given(PIECES)
def test_any_valid_message_is_read_as_protobuf_reads_it(data: bytes) -> None:
    assert_read_as_protobuf_does(data)


@given(PIECES, st.data())
def test_a_corrupt_message_is_read_or_refused_as_by_protobuf(data: bytes, draw: Any) -> None:
    data = field(1, field(3, BIG)) + data  # long enough to be read around protobuf
    at = draw.draw(st.integers(0, 16) | st.integers(0, len(data) - 1))
    kind = draw.draw(st.sampled_from(["cut", "change", "insert"]))
    byte = draw.draw(st.binary(min_size=1, max_size=1))
    match kind:
        case "cut":
            data = data[:at]
        case "change":
            data = data[:at] + byte + data[at + 1 :]
        case "insert":
            data = data[:at] + byte + data[at:]
    assert_read_as_protobuf_does(data)


@pytest.mark.parametrize(
    "data",
    [
        field(1, field(3, BIG)) + b"\x08\x05",  # the tensor's number, and no tensor
        field(1, field(3, BIG) + b"\x18\x05"),
        field(1, field(3, BIG)) + b"\x0b\x0c",  # a group
        field(1, field(3, BIG)) + b"\x00\x05",  # no field has the number 0
        field(1, field(3, BIG)) + varint(1 << 29 << 3) + b"\x05",
        b"\x8a\x80\x80\x80\x80\x00" + varint(len(BIG) + 4) + field(3, BIG),  # a tag of six bytes
        field(1, field(3, BIG)) + field(2, b"\xff"),  # no UTF-8
        field(1, field(3, BIG) + field(2, b"\xff")),
    ],
)
def test_what_is_odd_is_left_to_protobuf(data: bytes) -> None:
    assert_read_as_protobuf_does(data)


def test_a_large_tensor_is_a_view_of_what_came() -> None:
    data = bytearray(field(1, field(2, b"uint8") + field(3, BIG)))
    message: Any = read_message(data, REQUEST)
    assert isinstance(message, LargeMessage)
    assert message.a.data.readonly
    view = np.frombuffer(message.a.data, np.uint8)
    assert np.shares_memory(view, np.frombuffer(data, np.uint8))


def test_small_messages_and_those_without_tensors_are_protobufs() -> None:
    assert isinstance(read_message(field(1, field(3, b"abc")), REQUEST), REQUEST)
    shape = message_factory.GetMessageClass(SCHEMA.message("blazerpc.TensorProto"))
    assert isinstance(read_message(field(3, BIG), shape), shape)


def test_many_fields_are_left_to_protobuf() -> None:
    data = field(1, field(3, BIG)) + field(2, b"x") * 10_000
    assert isinstance(read_message(data, REQUEST), REQUEST)


def test_a_large_message_is_sent_in_pieces_without_a_copy() -> None:
    big, small = np.arange(LARGE, dtype=np.uint8), np.arange(3, dtype=np.int16)
    message: Any = empty_message(REQUEST, [big, "hello", small])
    message.text = "hello"
    data = big.tobytes()
    for name, dtype, content in (("a", "uint8", data), ("b", "int16", small.tobytes())):
        tensor = getattr(message, name)
        tensor.SetInParent()
        tensor.shape.extend([len(content)])
        tensor.dtype = dtype
        tensor.data = content
    pieces = message.pieces()
    assert any(piece is data for piece in pieces)
    whole: Any = REQUEST.FromString(b"".join(pieces))
    assert whole.text == "hello"
    assert whole.a.data == data
    assert list(whole.a.shape) == [LARGE]
    assert whole.b.data == small.tobytes()
    assert whole.b.dtype == "int16"
    assert [number.name for number, _ in message.ListFields()] == ["a", "text", "b"]


def test_small_values_need_no_large_message() -> None:
    assert isinstance(empty_message(REQUEST, [np.zeros(3), "x", None]), REQUEST)
