"""The Open Inference Protocol, called with Triton's own client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from blazerpc_client import BlazeClient
from blazerpc_client.transport.choice import chosen_http
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import logged
from tests.integration.oip import APP, ARRAYS, inputs, result, tensor


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server(APP)


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.target) as client:
        yield client


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


def test_without_the_protocol_nothing_of_it_is_there(start_server: StartServer) -> None:
    server = start_server(APP, "--no-oip")
    with triton.InferenceServerClient(server.target) as client:
        assert refusal(client.is_server_live)[0] == "UNIMPLEMENTED"
        assert refusal(client.infer, "greet", inputs(name="a"))[0] == "UNIMPLEMENTED"
