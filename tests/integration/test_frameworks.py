"""Models of frameworks in server processes, called with their generated clients."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, assert_type

import embeddings_client
import numpy as np
import numpy.typing as npt
import onnx_digits_client
import onnxruntime
import pytest
import sklearn_wine_client
import torch_digits_client
from sklearn.datasets import load_digits

from blazerpc_client import InvalidArgument
from examples.digits import Digits
from examples.export_digits import MODEL, export
from examples.sklearn_wine import estimator, wine
from tests.conftest import StartServer
from tests.integration.conftest import blaze, generated

# Transformers and networks take their time to load and to train, the more so beside other work.
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


async def test_onnx_predictions_are_those_of_onnxruntime(
    digits: Digits, start_server: StartServer
) -> None:
    server = start_server("examples.onnx_digits:app")
    session = onnxruntime.InferenceSession(MODEL)
    label, probabilities = session.run(["label", "probabilities"], {"X": digits.images})
    async with onnx_digits_client.InferenceClient(server.target) as client:
        result = await client.predict_digits(X=digits.images)
        assert_type(result, npt.NDArray[np.float32])
        rows = await asyncio.gather(*[client.predict_digits(X=row[None]) for row in digits.images])
        both = await client.predict_labelled_digits(X=digits.images)
        assert_type(both.label, npt.NDArray[np.int64])
        with pytest.raises(InvalidArgument, match=r"X: expected shape \(batch, 64\)"):
            await client.predict_digits(X=digits.images[0])
    for predicted in (result, np.concatenate(rows), both.probabilities):
        np.testing.assert_allclose(predicted, probabilities, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(both.label, label)
    assert np.mean(both.label == digits.labels) > 0.95


async def test_a_client_comes_from_an_exported_graph_alone(
    digits: Digits, start_server: StartServer, tmp_path: Path
) -> None:
    export(tmp_path / "fresh.onnx")
    (tmp_path / "serving.py").write_text(
        "from blazerpc import BlazeApp\n"
        "app = BlazeApp()\n"
        "app.add_onnx('fresh', 'fresh.onnx', outputs=['probabilities'])\n"
    )
    server = start_server("serving:app", directory=tmp_path)
    package: Any = generated(server, tmp_path, "fresh_client")
    async with package.InferenceClient(server.target) as client:
        result = await client.predict_fresh(X=digits.images)
    session = onnxruntime.InferenceSession(tmp_path / "fresh.onnx")
    (expected,) = session.run(["probabilities"], {"X": digits.images})
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


def test_a_graph_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "serving.py").write_text(
        "from blazerpc import BlazeApp\napp = BlazeApp()\napp.add_onnx('m', 'none.onnx')\n"
    )
    done = blaze("serve", "serving:app", cwd=tmp_path)
    assert done.returncode == 1
    assert "none.onnx cannot be loaded" in done.stderr
    assert "Traceback" not in done.stderr


async def test_scikit_learn_predictions_are_those_of_the_estimator(
    start_server: StartServer,
) -> None:
    server = start_server("examples.sklearn_wine:app")
    async with sklearn_wine_client.InferenceClient(server.target) as client:
        probabilities = await client.predict_wine(x=wine.data)
        assert_type(probabilities, npt.NDArray[np.float64])
        labels = await client.predict_wine_label(x=wine.data)
        assert_type(labels, npt.NDArray[np.str_])
    np.testing.assert_allclose(
        probabilities, estimator.predict_proba(wine.data), rtol=0, atol=1e-12
    )
    np.testing.assert_array_equal(labels, estimator.predict(wine.data))


async def test_a_network_of_torch_classifies_images_it_has_not_seen(
    digits: Digits, start_server: StartServer
) -> None:
    server = start_server("examples.torch_digits:app")
    images = digits.images.reshape(-1, 8, 8)
    async with torch_digits_client.InferenceClient(server.target) as client:
        probabilities = await client.predict_digits(images=images)
        assert_type(probabilities, npt.NDArray[np.float32])
        alone = await client.predict_digits(images=images[:1])
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(alone, probabilities[:1], atol=1e-5)
    assert digits.accuracy(probabilities.astype(np.float64)) > 0.9


async def test_a_transformer_finds_what_is_meant(start_server: StartServer) -> None:
    server = start_server("examples.embeddings:app")
    async with embeddings_client.InferenceClient(server.target) as client:
        hits = await client.predict_search(query="physical exercise", count=2)
        assert_type(hits, list[embeddings_client.Hit])
        assert "exercise" in hits[0].sentence
        assert len(hits) == 2
        assert hits[0].score > hits[1].score
        assert len(await client.predict_search(query="flowers")) == 3
        texts = ("A man eats food.", "Someone is eating bread.", "The sky is blue.")
        vectors = await asyncio.gather(*[client.predict_embed(text=text) for text in texts])
    man, someone, sky = vectors
    assert man.shape == (384,)
    assert man @ man == pytest.approx(1, abs=1e-5)
    assert man @ someone > 0.5 > man @ sky


@pytest.mark.tensorflow
async def test_a_network_of_tensorflow_classifies_images(
    start_server: StartServer, tmp_path: Path
) -> None:
    pytest.importorskip("tensorflow", reason="`make test-tensorflow` installs TensorFlow")
    server = start_server("tests.apps.tensorflow_digits:app")
    package: Any = generated(server, tmp_path, "tensorflow_client")
    data: Any = load_digits()
    images = data.data.astype(np.float32)
    async with package.InferenceClient(server.target) as client:
        probabilities = await client.predict_digits(x=images)
    assert probabilities.dtype == np.float32
    assert np.mean(probabilities.argmax(1) == data.target) > 0.9
