"""The Open Inference Protocol over HTTP, called with Triton's own client and by hand."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton

from tests.conftest import StartServer
from tests.integration.conftest import http_of
from tests.integration.oip import APP


@pytest.fixture(scope="module")
def url(start_module_server: StartServer) -> str:
    return f"http://{http_of(start_module_server(APP, '--http-port', '0'))}"


@pytest.fixture
def client(url: str) -> Any:
    with triton.InferenceServerClient(url.removeprefix("http://")) as client:
        yield client


def tensor(name: str, array: Any, datatype: str, *, binary: bool) -> triton.InferInput:
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_tritons_client_asks_for_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("add")
    assert not client.is_model_ready("nested")
    assert client.get_server_metadata()["name"] == "open"
    (given,) = client.get_model_metadata("add")["inputs"]
    assert given == {"name": "x", "datatype": "FP32", "shape": [-1, 2]}


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_sends_arrays(client: Any, binary: bool) -> None:
    arrays: list[tuple[str, str, Any]] = [
        ("float32", "FP32", np.array([[1.5, -2.0]], np.float32)),
        ("uint64", "UINT64", np.array([[0, 2**64 - 1]], np.uint64)),
        ("int8", "INT8", np.array([[-128, 127]], np.int8)),
        ("bool", "BOOL", np.array([[True, False]])),
        ("str", "BYTES", np.array([["a", "grüß"]], object)),
        ("float32", "FP32", np.zeros((0, 2), np.float32)),
        ("float32", "FP32", np.arange(20_000, dtype=np.float32).reshape(2, -1)),
    ]
    for kind, datatype, array in arrays:
        answer = client.infer(
            f"back-{kind}",
            [tensor("x", array, datatype, binary=binary)],
            outputs=[triton.InferRequestedOutput("result", binary_data=binary)],
            request_id="7",
        )
        returned = answer.as_numpy("result")
        if kind == "str":
            expected = [v.encode() if binary else v for v in array.reshape(-1)]
            assert returned.reshape(-1).tolist() == expected
        else:
            np.testing.assert_array_equal(returned, array)
        assert answer.get_response()["id"] == "7"


def test_half_precision_comes_as_binary_data(client: Any) -> None:
    for kind, datatype, array in [
        ("float16", "FP16", np.array([[-0.5, 1.0]], np.float16)),
        ("bfloat16", "BF16", np.array([[-0.5, 1.0]], ml_dtypes.bfloat16)),
    ]:
        answer = client.infer(f"back-{kind}", [tensor("x", array, datatype, binary=True)])
        np.testing.assert_array_equal(answer.as_numpy("result").astype(array.dtype), array)


def inferred(url: str, model: str, *inputs: object, **more: object) -> tuple[int, str]:
    body = {"inputs": inputs, **more}
    answer = httpx.post(f"{url}/v2/models/{model}/infer", json=body)
    return answer.status_code, answer.json().get("error", "")


def given(datatype: str, shape: object, data: object, name: object = "x") -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


@pytest.mark.parametrize(
    ("model", "tensor", "text"),
    [
        ("back-float32", given("FP32", [1, 2], [1.0]), "x: shape (1, 2) of float32 takes 8 bytes"),
        ("back-int32", given("INT32", [1, 1], [1.5]), "x: data are not all INT32"),
        ("back-int8", given("INT8", [1, 1], [128]), "x: a value is out of range for INT8"),
        ("back-float32", given("FP32", [1, 1], [1e300]), "x: a value is out of range for FP32"),
        ("back-float32", given("FP32", [1, 1], ["a"]), "x: data are not all FP32"),
        (
            "back-float32",
            given("FP32", [1, 2], [[1], [1, 2]]),
            "x: shape (1, 2) of float32 takes 8 bytes",
        ),
        ("back-bool", given("BOOL", [1, 1], [1]), "x: data are not all BOOL"),
        ("back-str", given("BYTES", [1, 1], [1]), "x: data are not all text"),
        ("back-float32", given("FP99", [1, 1], [1]), "x: no such datatype: 'FP99'"),
        ("back-float32", given("FP32", [-1, 1], [1]), "x: a shape is a list of sizes"),
        ("back-float32", given("FP32", [True], [1]), "x: a shape is a list of sizes"),
        ("back-float32", given("FP32", 3, [1]), "shape: expected list"),
        ("back-float32", given("FP32", [1], "1"), "data: expected list"),
        ("back-float32", given("FP32", [1], [1], name=7), "name: expected str"),
        ("back-float32", "x", "name: expected str"),
        ("back-float32", given("FP32", [1, 1], [1], name="y"), "y: no such input; there are: x"),
    ],
)
def test_wrong_tensors_are_named(url: str, model: str, tensor: object, text: str) -> None:
    status, error = inferred(url, model, tensor)
    assert status == 400
    assert error.startswith(text)


def test_what_json_does_not_have_must_be_binary(url: str) -> None:
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [NaN]}]}'
    answer = httpx.post(f"{url}/v2/models/back-float32/infer", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "result: JSON has no NaN or infinity; ask for binary data"


def test_binary_data_must_fit(url: str) -> None:
    def sent(size: int, more: bytes, length: str | None = None) -> str:
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1]}
        body = {"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}
        text = json.dumps(body).encode()
        headers = {"Inference-Header-Content-Length": length or str(len(text))}
        answer = httpx.post(
            f"{url}/v2/models/back-float32/infer", content=text + more, headers=headers
        )
        assert answer.status_code == (200 if answer.text.startswith('{"model_name"') else 400)
        error: str = answer.json().get("error", "")
        return error

    assert sent(4, b"\0\0\0\0") == ""
    assert sent(5, b"\0\0\0\0") == "x: binary_data_size does not fit what came"
    assert sent(4, b"\0\0\0\0\0") == "1 bytes follow that belong to no input"
    assert sent(4, b"\0\0\0\0", "9999").startswith("Inference-Header-Content-Length: ")
    assert sent(4, bytes(4), "9" * 5000).startswith("Inference-Header-Content-Length: is no number")
