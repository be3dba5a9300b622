"""The protocol's descriptors against the published ones, and large requests around protobuf."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from blazerpc.oip.protocol import (
    SCHEMA,
    SERVICE_NAME,
    InferRequest,
    InferResponse,
    with_raw_output,
)
from blazerpc_client.wire.large import LARGE

OURS: dict[str, Descriptor] = {
    name: SCHEMA.message(f"inference.{name}")
    for name in [message.name for file in SCHEMA.files for message in file.message_type]
}


def described(message: Descriptor) -> dict[str, object]:
    """Return all that decides the bytes of a message, and its names."""
    return {
        "fields": [
            (
                field.name,
                field.number,
                field.type,
                field.is_repeated,
                field.json_name,
                field.message_type.full_name if field.message_type else None,
                field.containing_oneof.name if field.containing_oneof else None,
            )
            for field in message.fields
        ],
        "map": message.GetOptions().map_entry,
        "nested": {nested.name: described(nested) for nested in message.nested_types},
    }


@pytest.mark.parametrize("name", OURS)
def test_every_message_is_the_published_one(name: str) -> None:
    theirs = service_pb2.DESCRIPTOR.message_types_by_name[name]
    assert described(OURS[name]) == described(theirs)


def test_every_method_is_the_published_one() -> None:
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    ours = SCHEMA.service(SERVICE_NAME).methods
    assert len(ours) == 7
    for method in ours:
        other = theirs[method.name]
        assert method.input_type.full_name == other.input_type.full_name
        assert method.output_type.full_name == other.output_type.full_name
        assert method.client_streaming == other.client_streaming
        assert method.server_streaming == other.server_streaming


def request(*raw: bytes) -> Any:
    message = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=raw)
    message.inputs.add(name="x", datatype="UINT8", shape=[len(raw[0])])
    return message


@pytest.mark.parametrize("size", [0, 10, LARGE, 100_000])
def test_raw_contents_come_in_order_large_or_small(size: int) -> None:
    contents = [b"a" * size, b"", b"b" * size]
    read = InferRequest.FromString(request(*contents).SerializeToString())
    assert [bytes(raw) for raw in read.raw] == contents
    assert read.message.model_name == "m"
    assert read.message.inputs[0].shape == [size]


def test_large_raw_contents_are_views_of_what_was_received() -> None:
    data = request(b"a" * LARGE).SerializeToString()
    (raw,) = InferRequest.FromString(data).raw
    assert isinstance(raw, memoryview)
    assert raw.obj is data


@pytest.mark.parametrize(
    "end",
    [
        b"\x38\x01",  # raw_input_contents as a varint, which protobuf keeps as unknown
        b"\x80\x01\x01" * 100,  # more fields than are looked at
    ],
)
def test_what_is_not_simple_is_left_to_protobuf(end: bytes) -> None:
    data = request(b"a" * LARGE).SerializeToString() + end
    assert [len(raw) for raw in InferRequest.FromString(data).raw] == [LARGE]


def test_a_request_that_is_cut_short_is_none() -> None:
    with pytest.raises(DecodeError):
        InferRequest.FromString(request(b"a" * LARGE).SerializeToString()[:-1])


@pytest.mark.parametrize("size", [0, 10, LARGE - 1, LARGE, 100_000])
def test_a_response_is_the_same_large_or_small(size: int) -> None:
    response = InferResponse(model_name="m", id="7")
    response.outputs.add(name="result", datatype="UINT8", shape=[size])
    data = with_raw_output(response, [b"a" * size]).SerializeToString()
    read = service_pb2.ModelInferResponse.FromString(data)
    assert read.raw_output_contents == [b"a" * size]
    assert (read.model_name, read.id, read.outputs[0].name) == ("m", "7", "result")
