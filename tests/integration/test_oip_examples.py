"""The example models answer the same over the Open Inference Protocol as to their own clients."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import embeddings_client
import numpy as np
import numpy.typing as npt
import onnx_digits_client
import pytest
import sklearn_wine_client
import torch_digits_client
import tritonclient.grpc.aio as triton
from inference_client import InferenceClient
from tritonclient.utils import InferenceServerException

from examples.digits import Digits
from examples.sklearn_wine import wine
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import blaze
from tests.integration.oip import inputs, result

# Transformers and networks take their time to load and to train, the more so beside other work.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def examples(start_module_server: StartServer) -> ServerProcess:
    return start_module_server("examples.app:app")


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.float32]:
    images: npt.NDArray[np.float32] = Digits().images
    return images


async def asked(server: ServerProcess, model: str, **values: object) -> npt.NDArray[Any]:
    async with triton.InferenceServerClient(server.target) as client:
        return result(await client.infer(model, inputs(**values)))


async def test_the_example_app(examples: ServerProcess, images: npt.NDArray[np.float32]) -> None:
    async with InferenceClient(examples.target) as client:
        score = await client.predict_sentiment(text="great, wonderful")
        digits = await client.predict_digits(x=images)
        tokens = [t async for t in client.predict_tokens(prompt="The data", count=20, seed=3)]
    assert (await asked(examples, "sentiment", text="great, wonderful")).tolist() == [
        np.float32(score)
    ]
    np.testing.assert_array_equal(await asked(examples, "digits", x=images), digits)

    async def requests() -> Any:
        given = inputs(prompt="The data", count=20, seed=3)
        yield {"model_name": "tokens", "inputs": given}

    streamed = []
    async with triton.InferenceServerClient(examples.target) as other:
        async for answer, error in other.stream_infer(requests()):
            assert error is None
            streamed += [token.decode() for token in result(answer)]
    assert streamed == tokens


async def test_onnx(start_server: StartServer, images: npt.NDArray[np.float32]) -> None:
    server = start_server("examples.onnx_digits:app")
    async with onnx_digits_client.InferenceClient(server.target) as client:
        expected = await client.predict_digits(X=images)
    np.testing.assert_array_equal(await asked(server, "digits", X=images), expected)
    with pytest.raises(InferenceServerException, match="model 'labelled-digits' is not offered"):
        await asked(server, "labelled-digits", X=images)


async def test_sklearn(start_server: StartServer) -> None:
    server = start_server("examples.sklearn_wine:app")
    x = np.asarray(wine.data, np.float64)
    async with sklearn_wine_client.InferenceClient(server.target) as client:
        expected = await client.predict_wine(x=x)
        label = await client.predict_wine_label(x=x)
    np.testing.assert_array_equal(await asked(server, "wine", x=x), expected)
    np.testing.assert_array_equal((await asked(server, "wine-label", x=x)).astype(str), label)


async def test_pytorch(start_server: StartServer, images: npt.NDArray[np.float32]) -> None:
    server = start_server("examples.torch_digits:app")
    shaped = images.reshape(-1, 8, 8)
    async with torch_digits_client.InferenceClient(server.target) as client:
        expected = await client.predict_digits(images=shaped)
    np.testing.assert_array_equal(await asked(server, "digits", images=shaped), expected)


async def test_a_sentence_transformer(start_server: StartServer) -> None:
    server = start_server("examples.embeddings:app")
    async with embeddings_client.InferenceClient(server.target) as client:
        expected = await client.predict_embed(text="a cat")
    np.testing.assert_array_equal(await asked(server, "embed", text="a cat"), expected)
    with pytest.raises(InferenceServerException, match="model 'search' is not offered"):
        await asked(server, "search", query="a cat")


def test_buf_curl_by_reflection(examples: ServerProcess) -> None:
    name = [{"name": "text", "datatype": "BYTES", "shape": ["1"]}]
    text = {"bytesContents": ["Z3JlYXQ="]}  # great
    request = {"modelName": "sentiment", "id": "7", "inputs": [{**name[0], "contents": text}]}
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "buf"),
            *("curl", "--protocol", "grpc", "--http2-prior-knowledge"),
            *("-d", json.dumps(request)),
            f"http://{examples.target}/inference.GRPCInferenceService/ModelInfer",
        ],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    (output,) = answer.pop("outputs")
    (raw,) = answer.pop("rawOutputContents")
    assert answer == {"modelName": "sentiment", "modelVersion": "1", "id": "7"}
    assert output == {"name": "result", "datatype": "FP32", "shape": ["1"]}
    assert np.frombuffer(b64decode(raw), "<f4").tolist() == [np.float32(0.6249)]


def test_our_own_tools_see_the_models_once(examples: ServerProcess, tmp_path: Path) -> None:
    shown = blaze("inspect", examples.target, "--json")
    services = json.loads(shown.stdout)["services"]
    assert [service["name"] for service in services] == ["blazerpc.InferenceService"]
    done = blaze("client", "gen", "--from", examples.target, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "GRPCInferenceService" not in (tmp_path / "inference_client/__init__.py").read_text()
    # Who wants one can have one.
    service = ("--service", "inference.GRPCInferenceService")
    done = blaze(
        *("client", "gen", "--from", examples.target, "--package", "oip"),
        *("--out", str(tmp_path), *service),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "oip").is_dir()
