"""Every example app answers on Ray what it answers in its server's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import embeddings_client
import inference_client
import numpy as np
import onnx_digits_client
import pytest
import sklearn_wine_client
import torch_digits_client

from examples.digits import Digits
from examples.sklearn_wine import wine
from tests.conftest import StartServer
from tests.integration.conftest import on_ray
from tests.integration.ray_node import Node

# Transformers and networks take their time to load and to train, twice and in each replica.
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300), pytest.mark.usefixtures("ray_token")]

#: Calls an app at an address, and gives all that it answered.
Asked = Callable[[str], Awaitable[list[object]]]

IMAGES = Digits().images


async def asked_app(target: str) -> list[object]:
    async with inference_client.InferenceClient(target) as client:
        score = await client.predict_sentiment(text="great, wonderful, I love it")
        rows = [client.predict_digits(x=row[None]) for row in IMAGES[:40]]
        probabilities = await asyncio.gather(*rows)
        tokens = [t async for t in client.predict_tokens(prompt="The data", count=200, seed=3)]
    assert len(tokens) == 200
    return [score, *probabilities, tokens]


async def asked_embeddings(target: str) -> list[object]:
    async with embeddings_client.InferenceClient(target) as client:
        vectors = [await client.predict_embed(text=text) for text in ("a cat", "physics", "")]
        hits = await client.predict_search(query="physical exercise")
    assert "exercise" in hits[0].sentence
    return [*vectors, hits]


async def asked_onnx(target: str) -> list[object]:
    async with onnx_digits_client.InferenceClient(target) as client:
        labelled = await client.predict_labelled_digits(X=IMAGES)
        return [await client.predict_digits(X=IMAGES), labelled.label, labelled.probabilities]


async def asked_sklearn(target: str) -> list[object]:
    async with sklearn_wine_client.InferenceClient(target) as client:
        return [
            await client.predict_wine(x=wine.data),
            await client.predict_wine_label(x=wine.data),
        ]


async def asked_torch(target: str) -> list[object]:
    async with torch_digits_client.InferenceClient(target) as client:
        return [await client.predict_digits(images=IMAGES.reshape(-1, 8, 8))]


@pytest.mark.parametrize(
    ("app", "asked"),
    [
        ("examples.app:app", asked_app),
        ("examples.embeddings:app", asked_embeddings),
        ("examples.onnx_digits:app", asked_onnx),
        ("examples.sklearn_wine:app", asked_sklearn),
        ("examples.torch_digits:app", asked_torch),
    ],
)
async def test_an_example_answers_as_it_does_without_ray(
    start_server: StartServer, node: Node, app: str, asked: Asked
) -> None:
    answers = []
    for server in (start_server(app), on_ray(start_server, app, node)):
        answers.append(await asked(server.target))
        assert server.stop()[0] == 0
    for local, remote in zip(*answers, strict=True):
        assert type(remote) is type(local)
        np.testing.assert_array_equal(remote, local)
