"""The Open Inference Protocol's requests that Triton's own client would not make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.conftest import ServerProcess, StartServer
from tests.integration.oip import APP, ARRAYS, result


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server(APP)


@pytest.fixture(scope="module")
def stub(server: ServerProcess) -> Iterator[Any]:
    """Triton's own generated stub."""
    with grpc.insecure_channel(server.target) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


CONTENTS = {
    "bool": "bool_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
    "bytes": "bytes_contents",
    "str": "bytes_contents",
}


def typed(
    model: str, datatype: str, shape: Sequence[int], **contents: object
) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model)
    request.inputs.add(
        name="x",
        datatype=datatype,
        shape=shape,
        contents=service_pb2.InferTensorContents(**contents),
    )
    return request


@pytest.mark.parametrize("kind", CONTENTS)
def test_typed_contents_are_read_too(stub: Any, kind: str) -> None:
    array = ARRAYS[kind]
    values = array.reshape(-1).tolist()
    if kind == "str":
        values = [value.encode() for value in values]
    datatype = triton.np_to_triton_dtype(array.dtype)
    request = typed(f"back-{kind}", datatype, array.shape, **{CONTENTS[kind]: values})
    answer = triton.InferResult(stub.ModelInfer(request))
    expected = np.char.encode(array.astype(str)) if kind == "str" else array
    np.testing.assert_array_equal(result(answer).astype(expected.dtype), expected)


def test_an_empty_array_needs_no_contents(stub: Any) -> None:
    answer = triton.InferResult(stub.ModelInfer(typed("back-float16", "FP16", (0, 2))))
    assert result(answer).shape == (0, 2)


def raw(
    model: str, shape: Sequence[int], *contents: bytes, datatype: str = "FP32"
) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=contents)
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    return request


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (
            raw("add", (1, 2), b"", b""),
            "raw_input_contents: 2 raw contents for 1 inputs; each has its own, or none has",
        ),
        (raw("add", (1, 2), b"1234567"), "x: shape (1, 2) of float32 takes 8 bytes, got 7"),
        (raw("add", (-1, 2), b""), "x: negative dimension in shape (-1, 2)"),
        (raw("add", (2**62, 2**62), b""), "x: shape "),
        (raw("add", (1,) * 65, b"1234"), "x: a tensor has at most 64 dimensions, got 65"),
        (
            raw("back-str", (1, 1), b"\x09\0\0\0a", datatype="BYTES"),
            "x: data ends inside an element",
        ),
        (
            raw("back-str", (1, 1), b"\x01\0\0", datatype="BYTES"),
            "x: data ends inside the length of an element",
        ),
        (
            raw("back-bytes", (1, 2), b"\x01\0\0\0a", datatype="BYTES"),
            "x: the shape takes 2 elements, the data holds 1",
        ),
        (raw("back-bool", (1, 1), b"\x02", datatype="BOOL"), "x: a bool tensor holds only "),
        (
            typed("back-float32", "FP32", (1, 2), fp64_contents=[1.0, 2.0]),
            "x: contents of FP32 are in fp32_contents, not in fp64_contents",
        ),
        (
            typed("back-float16", "FP16", (1, 2), fp32_contents=[1.0, 2.0]),
            "x: contents of FP16 are raw, not in fp32_contents",
        ),
        (
            typed("back-int8", "INT8", (1, 1), int_contents=[128]),
            "x: a value is out of range for INT8",
        ),
        (
            typed("back-uint16", "UINT16", (1, 1), uint_contents=[65536]),
            "x: a value is out of range for UINT16",
        ),
        (typed("add", "FP32", (1, 2)), "x: shape (1, 2) of float32 takes 8 bytes, got 0"),
    ],
)
def test_wrong_contents_are_named(
    stub: Any, request_: service_pb2.ModelInferRequest, text: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (caught.value.details() or "").startswith(text)


def test_an_error_is_no_longer_than_headers_may_be(stub: Any) -> None:
    request = raw("greet", (2**62,) * 100_000, b"", datatype="BYTES")
    request.inputs[0].name = "name"
    with pytest.raises(grpc.RpcError, match=r"name: expected shape \(1,\), got \(4611") as caught:
        stub.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_typed_and_raw_contents_of_one_input_are_refused(stub: Any) -> None:
    request = typed("back-float32", "FP32", (1, 1), fp32_contents=[1.0])
    request.raw_input_contents.append(b"1234")
    with pytest.raises(grpc.RpcError, match="x: it has typed and raw contents") as caught:
        stub.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_bytes_that_are_no_request_are_refused(server: ServerProcess) -> None:
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\x0a\x05ab")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details() == "model_name: not a valid protobuf message"


def test_metadata_reaches_the_model_and_comes_back(stub: Any) -> None:
    request = service_pb2.ModelInferRequest(model_name="who")
    name = service_pb2.InferTensorContents(bytes_contents=[b"you"])
    request.inputs.add(name="name", datatype="BYTES", shape=[1], contents=name)
    answer, call = stub.ModelInfer.with_call(request, metadata=[("x-caller", "I")])
    text = b"'I' calls /inference.GRPCInferenceService/ModelInfer"
    assert result(triton.InferResult(answer)).tolist() == [text]
    trailing = dict(call.trailing_metadata())
    assert trailing["x-answer"] == "you"
    assert float(trailing["blaze-compute-ms"]) >= 0
