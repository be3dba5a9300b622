"""Bytes that no client of ours would send: each is refused by name, and the server goes on."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError

from blazerpc_client.transport.choice import chosen_http
from tests.conftest import ServerProcess
from tests.http2 import post


class RawCodec(CodecBase):
    """Sends and receives bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        assert isinstance(message, bytes)
        return message

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


def field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def varint(number: int) -> bytes:
    """Return a varint; negative numbers as protobuf's int64 has them."""
    number &= (1 << 64) - 1
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*data, number])


def tensor(shape: tuple[int, ...], dtype: str, data: bytes) -> bytes:
    sizes = b"".join(map(varint, shape))
    return field(1, sizes) + field(2, dtype.encode()) + field(3, data)


def matrix(shape: tuple[int, ...], dtype: str = "float", data: bytes = b"") -> bytes:
    """Return a request for sum-rows whose x is the tensor, and whose weights fit two rows."""
    weights = field(2, tensor((2,), "float", struct.pack("<2f", 1, 1)))
    return field(1, tensor(shape, dtype, data)) + weights


FOUR = struct.pack("<4f", 1, 2, 3, 4)

BAD_REQUESTS = [
    ("Greet", b"\xff", None, "not a valid protobuf message"),
    ("Greet", b"\x0a\x05ab", "name", "not a valid protobuf message"),
    ("Greet", b"\x10\xff", "times", "not a valid protobuf message"),
    ("Greet", field(1, b"\xff\xfe"), "name", "not a valid protobuf message"),
    ("Greet", b"GET / HTTP/1.1\r\n\r\n", None, "not a valid protobuf message"),
    ("SumRows", b"", "x", "missing"),
    ("SumRows", field(1, tensor((1, 4), "float", FOUR)), "weights", "missing"),
    ("SumRows", field(1, b"\x0a\x09\x01"), "x.shape", "not a valid protobuf message"),
    ("SumRows", field(1, field(2, b"\xff")), "x.dtype", "not a valid protobuf message"),
    ("SumRows", matrix((1, 4), "quux", FOUR), "x", "unknown dtype 'quux'"),
    ("SumRows", matrix((1, 4), "", FOUR), "x", "unknown dtype ''"),
    ("SumRows", matrix((1, 4), "O" * 90, FOUR), "x", f"unknown dtype '{'O' * 40}'"),
    ("SumRows", matrix((1, 4), "object", FOUR), "x", "unknown dtype 'object'"),
    ("SumRows", matrix((1, 4), "float", FOUR[:-1]), "x", "takes 16 bytes, got 15"),
    ("SumRows", matrix((1, 4), "float", FOUR + b"\0"), "x", "takes 16 bytes, got 17"),
    ("SumRows", matrix((-1, 4), "float", FOUR), "x", "negative dimension"),
    ("SumRows", matrix((-1, -4), "float", FOUR), "x", "negative dimension"),
    ("SumRows", matrix(((1 << 62), 4), "float", FOUR), "x", "bytes, got 16"),
    ("SumRows", matrix(((1 << 62), 0, 1 << 62), "float"), "x", "too large"),
    ("SumRows", matrix((1,) * 65, "float", FOUR[:4]), "x", "at most 64 dimensions"),
    ("SumRows", matrix((1, 4), "double", FOUR * 2), "x", "expected dtype float32, got float64"),
    ("SumRows", matrix((4,), "float", FOUR), "x", r"expected shape \(batch, 4\), got \(4,\)"),
    ("SumRows", matrix((4, 1), "float", FOUR), "x", r"expected shape \(batch, 4\), got \(4, 1\)"),
    ("SumRows", matrix((1, 4), "float", FOUR), "weights", "'batch' is 2 here, 1 earlier"),
]


@pytest.mark.parametrize(("rpc", "request_", "name", "message"), BAD_REQUESTS)
async def test_bad_bytes_are_refused_by_field_and_the_connection_goes_on(
    models: ServerProcess, rpc: str, request_: bytes, name: str | None, message: str
) -> None:
    async with connect(models) as channel:
        error = await failure(channel, rpc, request_)
        assert error.status is Status.INVALID_ARGUMENT
        assert re.search(message, error.message or "")
        (details,) = error.details
        assert isinstance(details, BadRequest)
        assert [violation.field for violation in details.field_violations] == [name or ""]
        if name is not None:
            assert (error.message or "").startswith(f"{name}: ")
        # The same connection, the next call.
        assert await call(channel, "Greet", field(1, b"ab") + b"\x10\x02") == field(1, b"abab")


async def test_bad_bytes_to_the_health_service_are_refused_too(models: ServerProcess) -> None:
    async with connect(models) as channel:
        with pytest.raises(GRPCError) as caught:
            await _call(channel, "/grpc.health.v1.Health/Check", b"\x0a\x01\xff")
        assert caught.value.status is Status.INVALID_ARGUMENT
        assert "service" in (caught.value.message or "")


async def test_any_valid_encoding_is_read(models: ServerProcess) -> None:
    # Fields in another order, unknown ones between, a shape that is not packed, in two parts.
    sizes = b"\x08\x02", b"\x08\x04"
    first = sizes[0] + field(2, b"float32") + field(15, b"unknown")
    second = field(3, struct.pack("<8f", *range(8))) + sizes[1]
    weights = field(2, tensor((2,), "float32", struct.pack("<2f", 1, 2)))
    request = weights + field(1, first) + field(9, b"?") + field(1, second)
    async with connect(models) as channel:
        response = await call(channel, "SumRows", request)
    assert response == field(1, tensor((2,), "float", struct.pack("<2f", 6, 44)))


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", Status.INVALID_ARGUMENT, "the request holds no message"),
        (b"\0\0\0\0\x09\x0a", Status.INVALID_ARGUMENT, "ends before its announced length"),
        (b"\0\0\0", Status.INVALID_ARGUMENT, "ends before its announced length"),
    ],
)
def test_a_broken_frame_is_refused(
    models: ServerProcess, body: bytes, status: Status, message: str
) -> None:
    answer = post(models.port, "/blazerpc.InferenceService/PredictGreet", body)
    assert answer["grpc-status"] == str(status.value)
    assert message in answer["grpc-message"]


def test_a_compressed_frame_without_an_encoding_is_refused(models: ServerProcess) -> None:
    body = b"\x01\0\0\0\0"
    answer = post(models.port, "/blazerpc.InferenceService/PredictGreet", body)
    refused = {"blaze": Status.INTERNAL, "h2": Status.UNIMPLEMENTED}[chosen_http(None)]
    assert answer["grpc-status"] == str(refused.value)
    assert "compress" in answer["grpc-message"]


@pytest.mark.parametrize("timeout", ["0n", "1n"])
def test_a_deadline_that_is_past_already_is_answered(models: ServerProcess, timeout: str) -> None:
    path = "/blazerpc.InferenceService/PredictGreet"
    answer = post(models.port, path, b"\0\0\0\0\0", grpc_timeout=timeout)
    # grpclib's HTTP/2 takes it for a fault of the handler.
    status = {"blaze": Status.DEADLINE_EXCEEDED, "h2": Status.UNKNOWN}[chosen_http(None)]
    assert answer["grpc-status"] == str(status.value)


def test_an_unknown_rpc_is_unimplemented_in_a_whole_response(models: ServerProcess) -> None:
    answer = post(models.port, "/blazerpc.InferenceService/PredictNothing", b"\0\0\0\0\0")
    assert answer["grpc-status"] == str(Status.UNIMPLEMENTED.value)
    # Clients in other languages take an answer without it for no gRPC at all.
    assert answer["content-type"] == "application/grpc+proto"


def connect(server: ServerProcess) -> Channel:
    codec = ProtoStatusDetailsCodec()
    return Channel("127.0.0.1", server.port, codec=RawCodec(), status_details_codec=codec)


async def call(channel: Channel, rpc: str, request: bytes) -> bytes:
    return await _call(channel, f"/blazerpc.InferenceService/Predict{rpc}", request)


async def failure(channel: Channel, rpc: str, request: bytes) -> GRPCError:
    with pytest.raises(GRPCError) as caught:
        await call(channel, rpc, request)
    return caught.value


async def _call(channel: Channel, path: str, request: bytes) -> bytes:
    stream = channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes)
    async with stream:
        await stream.send_message(request, end=True)
        response = await stream.recv_message()
    assert response is not None
    return response
