"""The Open Inference Protocol, called with Triton's own client."""

from __future__ import annotations

import asyncio
import queue
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from blazerpc_client import BlazeClient
from blazerpc_client.transport.choice import chosen_http
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import logged

APP = "tests.apps.open_inference:app"


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server(APP)


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.target) as client:
        yield client


@pytest.fixture(scope="module")
def stub(server: ServerProcess) -> Iterator[Any]:
    """Triton's own generated stub, for requests that its client would not make."""
    with grpc.insecure_channel(server.target) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, value: object, datatype: str = "") -> triton.InferInput:
    """Return an input of Triton's client with raw contents."""
    if isinstance(value, str | bytes):
        array = np.array([value], object)
    elif isinstance(value, list) and value and isinstance(value[0], str | bytes):
        array = np.array(value, object)
    elif isinstance(value, np.ndarray):
        array = value
    else:
        array = np.array(value if isinstance(value, list) else [value])
    datatype = datatype or triton.np_to_triton_dtype(array.dtype)
    if datatype != "BYTES":
        array = array.astype(triton_to_np_dtype(datatype), copy=False)
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array)
    return made


def inputs(**values: object) -> list[triton.InferInput]:
    return [tensor(name, value) for name, value in values.items()]


def result(answer: triton.InferResult) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = answer.as_numpy("result")
    return array


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> tuple[str, str]:
    """Return status and text of a call of Triton's client that fails."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return caught.value.status().removeprefix("StatusCode."), str(caught.value.message())


def test_the_server_tells_that_it_lives_and_what_it_is(
    client: triton.InferenceServerClient,
) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata.name == "open"
    assert metadata.version


def test_metadata_has_every_tensor_of_a_model(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("scalars")
    metadata = client.get_model_metadata("scalars", as_json=True)
    assert [(i["name"], i["datatype"], i["shape"]) for i in metadata["inputs"]] == [
        ("text", "BYTES", ["1"]),
        ("raw", "BYTES", ["1"]),
        ("number", "INT64", ["1"]),
        ("small", "INT32", ["1"]),
        ("ratio", "FP32", ["1"]),
        ("yes", "BOOL", ["1"]),
    ]
    assert metadata["outputs"] == [{"name": "result", "datatype": "BYTES", "shape": ["1"]}]
    metadata = client.get_model_metadata("add", as_json=True)
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "2"]}]
    lists = client.get_model_metadata("lists", as_json=True)
    assert [(i["datatype"], i["shape"]) for i in lists["inputs"]] == [
        ("BYTES", ["-1"]),
        ("FP64", ["-1"]),
    ]


ARRAYS = {
    "bool": np.array([[True, False]]),
    "uint8": np.array([[0, 255]], np.uint8),
    "uint16": np.array([[0, 65535]], np.uint16),
    "uint32": np.array([[0, 2**32 - 1]], np.uint32),
    "uint64": np.array([[0, 2**64 - 1]], np.uint64),
    "int8": np.array([[-128, 127]], np.int8),
    "int16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "int32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "int64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "float16": np.array([[-0.5, 65504.0]], np.float16),
    "float32": np.array([[-0.0, np.inf]], np.float32),
    "float64": np.array([[1e300, np.nan]], np.float64),
    "bfloat16": np.array([[1.5, -2.0]], ml_dtypes.bfloat16),
    "str": np.array([["", "grüß"]], object),
    "bytes": np.array([[b"\x00\xff", b"a"]], object),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_raw_arrays_come_back(
    client: triton.InferenceServerClient, kind: str, compression: str | None
) -> None:
    array = ARRAYS[kind]
    answer = client.infer(f"back-{kind}", inputs(x=array), compression_algorithm=compression)
    expected = np.char.encode(array.astype(str)) if kind == "str" else array
    np.testing.assert_array_equal(result(answer).astype(expected.dtype), expected)
    assert answer.get_response().outputs[0].shape == [1, 2]


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


def test_large_arrays_come_back(client: triton.InferenceServerClient) -> None:
    array = np.arange(300_000, dtype=np.float32).reshape(3, -1)
    # grpclib's HTTP/2 has no compression.
    for compression in (None, "gzip") if chosen_http(None) == "blaze" else (None,):
        answer = client.infer("back-float32", inputs(x=array), compression_algorithm=compression)
        np.testing.assert_array_equal(result(answer), array)


def test_scalars_lists_and_bytes(client: triton.InferenceServerClient) -> None:
    answer = client.infer(
        "scalars",
        [
            tensor("yes", True),
            tensor("text", "grüß"),
            tensor("raw", b"\x00\xff\x00"),
            tensor("number", -(2**63)),
            tensor("small", 5, "INT32"),
            tensor("ratio", 0.5, "FP32"),
        ],
    )
    expected = repr(("grüß", b"\x00\xff\x00", -(2**63), "int32", 5, 0.5, True))
    assert result(answer).tolist() == [expected.encode()]
    answer = client.infer("lists", inputs(texts=["a", ""], numbers=[0.5, 1.0]))
    assert result(answer).tolist() == [b"a 0.5", b" 1.0"]
    # NumPy's bytes arrays would lose the NULs.
    answer = client.infer("raws", inputs(values=[b"a\x00", b""]))
    assert result(answer).tolist() == [b"", b"a\x00"]


def test_what_has_a_default_may_be_left_out(client: triton.InferenceServerClient) -> None:
    assert result(client.infer("defaults", [])).tolist() == [repr(("none", "a", None)).encode()]
    answer = client.infer("defaults", [tensor("bias", 0.5, "FP32"), *inputs(mode="b")])
    assert result(answer).tolist() == [repr(("none", "b", 0.5)).encode()]


def test_a_result_that_is_absent_is_no_output(client: triton.InferenceServerClient) -> None:
    assert result(client.infer("maybe", inputs(number=3))).tolist() == [3]
    assert client.infer("maybe", inputs(number=0)).as_numpy("result") is None


def test_id_version_and_outputs_are_honoured(client: triton.InferenceServerClient) -> None:
    def greeted(name: str, version: str) -> tuple[list[bytes], str, str]:
        answer = client.infer(
            name,
            inputs(name="you"),
            model_version=version,
            request_id="call-7",
            outputs=[triton.InferRequestedOutput("result")],
        )
        response = answer.get_response()
        return result(answer).tolist(), response.model_version, response.id

    assert greeted("greet", "") == ([b"hello you"], "1", "call-7")
    assert greeted("greet", "2") == ([b"good day you"], "2", "call-7")
    assert greeted("only", "") == ([b"you"], "7", "call-7")
    assert client.get_model_metadata("greet").versions == ["1", "2"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("nested", "parameter 'point' is "),
        ("table", "the result is dict[str, int], for which the protocol has no tensor"),
        ("when", "parameter 'at' is datetime, for which the protocol has no tensor"),
        ("wave", "parameter 'x' is complex64 (n,), for which the protocol has no tensor"),
    ],
)
def test_what_no_tensor_can_carry_is_not_offered_and_says_why(
    client: triton.InferenceServerClient, model: str, reason: str
) -> None:
    for ask in (client.get_model_metadata, lambda name: client.infer(name, [])):
        status, text = refusal(ask, model)
        assert status == "NOT_FOUND"
        assert text.startswith(f"model {model!r} is not offered: {reason}")


def test_models_and_versions_that_are_not_there(client: triton.InferenceServerClient) -> None:
    assert refusal(client.get_model_metadata, "no") == ("NOT_FOUND", "no model 'no'")
    text = "model 'greet' has no version '3'; there are: 1, 2"
    assert refusal(client.is_model_ready, "greet", "3") == ("NOT_FOUND", text)
    assert refusal(client.infer, "", []) == ("INVALID_ARGUMENT", "model_name: missing")


X = np.zeros((1, 2), np.float32)


@pytest.mark.parametrize(
    ("model", "given", "text"),
    [
        ("add", [], "x: missing"),
        ("add", [("y", X)], "y: no such input; there are: x"),
        ("add", [("x", X), ("x", X)], "x: the input is given twice"),
        ("add", [("x", X.astype(np.float64))], "x: expected datatype FP32, got 'FP64'"),
        ("add", [("x", X[0])], "x: expected shape (batch, 2), got (2,)"),
        ("add", [("x", X[:, :1])], "x: expected shape (batch, 2), got (1, 1)"),
        (
            "agree",
            [("a", X[0]), ("b", X[0, :1])],
            "b: dimension 'n' is 1 here, 2 earlier in the call",
        ),
        ("greet", [("name", ["a", "b"])], "name: expected shape (1,), got (2,)"),
        ("greet", [("name", b"\xff")], "name: an element is not valid UTF-8"),
        ("defaults", [("mode", "c")], "mode: expected one of 'a', 'b', got 'c'"),
        ("lists", [("texts", np.array([["a"]], object))], "texts: expected shape (n,), got (1, 1)"),
    ],
)
def test_a_wrong_input_is_named(
    client: triton.InferenceServerClient,
    model: str,
    given: list[tuple[str, object]],
    text: str,
) -> None:
    made = [tensor(name, value) for name, value in given]
    assert refusal(client.infer, model, made) == ("INVALID_ARGUMENT", text)


def test_wrong_outputs_are_named(client: triton.InferenceServerClient) -> None:
    def wanting(output: triton.InferRequestedOutput) -> tuple[str, str]:
        return refusal(client.infer, "greet", inputs(name="a"), outputs=[output])

    unknown = triton.InferRequestedOutput("other")
    assert wanting(unknown) == ("INVALID_ARGUMENT", "other: no such output; there is: result")
    classes = triton.InferRequestedOutput("result", class_count=3)
    assert wanting(classes) == ("INVALID_ARGUMENT", "result: classification is not supported")
    shared = triton.InferRequestedOutput("result")
    shared.set_shared_memory("region", 8)
    text = "result: shared memory is not supported"
    assert wanting(shared) == ("INVALID_ARGUMENT", text)
    given = triton.InferInput("name", [1], "BYTES")
    given.set_shared_memory("region", 8)
    text = "name: shared memory is not supported"
    assert refusal(client.infer, "greet", [given]) == ("INVALID_ARGUMENT", text)


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


def test_a_failure_of_the_model_has_an_id_and_no_secret(
    client: triton.InferenceServerClient,
) -> None:
    for how in ("raise", "type"):
        status, text = refusal(client.infer, "fail", inputs(how=how))
        assert status == "INTERNAL"
        assert text.startswith("model 'fail' failed; error id ")
        assert "secret" not in text


def test_a_stream_is_no_unary_call(client: triton.InferenceServerClient) -> None:
    status, text = refusal(client.infer, "count", inputs(to=1))
    assert status == "UNIMPLEMENTED"
    assert text == (
        "model 'count' gives a stream of results; call ModelStreamInfer, "
        "or over HTTP /v1/models/count/versions/1:predict"
    )


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


async def test_one_batch_is_of_both_kinds_of_requests(server: ServerProcess) -> None:
    """The model tells how many rows its batch has: more than any request has."""
    zeros = np.zeros((1, 2), np.float32)
    async with (
        triton_aio.InferenceServerClient(server.target) as client,
        BlazeClient("127.0.0.1", server.port) as typed_client,
    ):
        await typed_client.predict("add", x=zeros)  # connects, and reads the schema
        sizes: set[tuple[float, float]] = set()
        async with asyncio.timeout(30):
            # Which requests meet is not for the test to say; that some do is soon seen.
            while not any(a == b == 2 for a, b in sizes):
                own: Any
                open_, own = await asyncio.gather(
                    client.infer("add", inputs(x=zeros)), typed_client.predict("add", x=zeros)
                )
                sizes.add((float(result(open_)[0, 0]), float(own[0, 0])))


async def test_a_deadline_ends_the_call(server: ServerProcess, tmp_path: Path) -> None:
    until = str(tmp_path / "never")
    async with triton_aio.InferenceServerClient(server.target) as client:
        with pytest.raises(InferenceServerException) as caught:
            await client.infer("hold", inputs(until=until), client_timeout=0.2)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


async def test_a_full_queue_refuses(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(APP)
    until = tmp_path / "until"
    async with triton_aio.InferenceServerClient(server.target) as client:
        first = asyncio.create_task(client.infer("hold", inputs(until=str(until))))
        await logged(server, "holding")
        with pytest.raises(InferenceServerException) as caught:
            await client.infer("hold", inputs(until=str(until)))
        assert caught.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
        until.touch()
        assert result(await first).tolist() == [b"released"]


async def test_a_request_waits_no_longer_than_its_timeout(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(APP)
    until = tmp_path / "until"
    async with triton_aio.InferenceServerClient(server.target) as client:
        first = asyncio.create_task(client.infer("hold-in-turn", inputs(until=str(until))))
        await logged(server, "holding")
        with pytest.raises(InferenceServerException) as caught:
            await client.infer("hold-in-turn", inputs(until=str(until)), timeout=100_000)
        assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        until.touch()
        assert result(await first).tolist() == [b"released"]


class Responses:
    """What a stream of Triton's client has brought."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()

    def __call__(self, result: Any, error: InferenceServerException | None) -> None:
        self._queue.put((result, error))

    def next(self) -> tuple[list[Any] | None, bool, str]:
        """Return the values of the next response, whether it is the last, and its id."""
        answer, error = self._queue.get(timeout=20)
        assert error is None
        response = answer.get_response()
        values = answer.as_numpy("result")
        final = response.parameters["triton_final_response"].bool_param
        return None if values is None else values.tolist(), final, response.id

    def error(self) -> str:
        _, error = self._queue.get(timeout=20)
        assert error is not None
        return str(error.message())


@contextmanager
def streaming(server: ServerProcess) -> Iterator[tuple[triton.InferenceServerClient, Responses]]:
    responses = Responses()
    with triton.InferenceServerClient(server.target) as client:
        client.start_stream(responses)
        yield client, responses
        client.stop_stream(cancel_requests=True)


def test_a_stream_of_results(server: ServerProcess) -> None:
    with streaming(server) as (client, responses):
        client.async_stream_infer(
            "count", inputs(to=3), request_id="7", enable_empty_final_response=True
        )
        assert [responses.next() for _ in range(4)] == [
            ([0], False, "7"),
            ([1], False, "7"),
            ([2], False, "7"),
            (None, True, "7"),
        ]
        # Without the empty response, the next request's is next.
        client.async_stream_infer("count", inputs(to=1), request_id="8")
        client.async_stream_infer("greet", inputs(name="you"), request_id="9")
        assert [responses.next() for _ in range(2)] == [
            ([0], False, "8"),
            ([b"hello you"], True, "9"),
        ]
        client.async_stream_infer("growing", inputs(to=3))
        assert [responses.next()[0] for _ in range(3)] == [[], [0], [0, 1]]


def test_a_request_of_a_stream_that_fails_leaves_the_others(server: ServerProcess) -> None:
    with streaming(server) as (client, responses):
        client.async_stream_infer("count", inputs(wrong=3))
        text = "INVALID_ARGUMENT: wrong: no such input; there are: to, fail_at"
        assert responses.error() == text
        client.async_stream_infer("no", [])
        assert responses.error() == "NOT_FOUND: no model 'no'"
        client.async_stream_infer("count", inputs(to=3, fail_at=1))
        assert responses.next()[0] == [0]
        assert responses.error().startswith("INTERNAL: model 'count' failed; error id ")
        client.async_stream_infer("greet", inputs(name="you"))
        assert responses.next()[0] == [b"hello you"]


async def test_a_stream_that_is_cancelled_ends_its_generator(server: ServerProcess) -> None:
    async def requests() -> Any:
        yield {"model_name": "forever", "inputs": inputs(name="cancelled")}
        await asyncio.Event().wait()

    async with triton_aio.InferenceServerClient(server.target) as client:
        answers = client.stream_infer(requests())
        async for answer, error in answers:
            assert error is None
            assert result(answer).tolist() == [b"cancelled"]
            break
        answers.cancel()
    await logged(server, "left cancelled")


async def test_a_stream_that_waits_ends_when_the_server_stops(start_server: StartServer) -> None:
    server = start_server(APP, "--grace", "50")
    with streaming(server) as (client, responses):
        client.async_stream_infer("greet", inputs(name="you"))
        assert responses.next()[0] == [b"hello you"]
        # The grace period is for those that run: this one only waits.
        code, errors = await asyncio.to_thread(server.stop)
        assert code == 0, errors
        assert "cancelling" not in errors
        assert responses.error() == "the server is stopping"


async def test_a_request_of_a_stream_is_finished_when_the_server_stops(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(APP, "--grace", "50")
    until = tmp_path / "until"
    with streaming(server) as (client, responses):
        client.async_stream_infer("hold", inputs(until=str(until)))
        await logged(server, "holding")
        server.signal(signal.SIGTERM)
        await logged(server, "stopping: 1 calls in flight")
        until.touch()
        assert responses.next()[0] == [b"released"]
        assert responses.error() == "the server is stopping"
    code, errors = await asyncio.to_thread(server.wait)
    assert code == 0, errors


def test_without_the_protocol_nothing_of_it_is_there(start_server: StartServer) -> None:
    server = start_server(APP, "--no-oip")
    with triton.InferenceServerClient(server.target) as client:
        assert refusal(client.is_server_live)[0] == "UNIMPLEMENTED"
        assert refusal(client.infer, "greet", inputs(name="a"))[0] == "UNIMPLEMENTED"
