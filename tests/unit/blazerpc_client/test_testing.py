"""Functions in the place of a server, typed by the client that they answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from inference_client import InferenceClient
from rows_client import Document
from rows_client import InferenceClient as RowsClient
from zoo_client import SyncZooServiceClient

from blazerpc_client import DeadlineExceeded, Internal, InvalidArgument, NotFound, Unimplemented
from blazerpc_client.testing import FakeServer


async def test_functions_answer_with_the_types_of_the_client() -> None:
    server = FakeServer(InferenceClient)

    def sentiment(*, text: str) -> float:
        return float(len(text))

    async def digits(*, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        return np.full((len(x), 10), 0.5)

    def tokens(*, prompt: str, count: int, seed: int) -> Iterator[str]:
        yield from [prompt, str(count), str(seed)]

    server.answers(InferenceClient.predict_sentiment)(sentiment)
    server.answers(InferenceClient.predict_digits)(digits)
    server.answers(InferenceClient.predict_tokens)(tokens)
    async with server.client() as client:
        assert isinstance(client, InferenceClient)
        assert await client.predict_sentiment(text="four") == 4.0
        result = await client.predict_digits(x=np.zeros((3, 64), np.float32))
        assert result.shape == (3, 10)
        assert result.dtype == np.float64
        found = [token async for token in client.predict_tokens(prompt="a", count=2, seed=3)]
        assert found == ["a", "2", "3"]


async def test_a_stream_can_be_asynchronous() -> None:
    server = FakeServer(InferenceClient)

    async def tokens(*, prompt: str, count: int, seed: int) -> AsyncIterator[str]:
        yield prompt
        await asyncio.sleep(0)
        yield prompt

    server.answers(InferenceClient.predict_tokens)(tokens)
    client = server.client()
    found = [token async for token in client.predict_tokens(prompt="a", count=2, seed=3)]
    assert found == ["a", "a"]


async def test_what_is_not_given_is_none_and_classes_are_the_packages() -> None:
    server = FakeServer(RowsClient)
    server.answers(RowsClient.predict_optional_document)(lambda *, value=None: value)
    client = server.client()
    assert await client.predict_optional_document() is None
    assert isinstance(client, RowsClient)
    assert Document is not None


async def test_what_nothing_answers_is_unimplemented() -> None:
    client = FakeServer(InferenceClient).client()
    with pytest.raises(Unimplemented, match=r"nothing answers predict_sentiment\(\)"):
        await client.predict_sentiment(text="x")
    with pytest.raises(Unimplemented, match=r"nothing answers predict_tokens\(\)"):
        await anext(client.predict_tokens(prompt="a", count=2, seed=3))


async def test_arguments_are_checked_as_ever() -> None:
    server = FakeServer(InferenceClient)
    called = False

    def digits(*, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        nonlocal called
        called = True
        return np.zeros((1, 10))

    server.answers(InferenceClient.predict_digits)(digits)
    with pytest.raises(InvalidArgument) as caught:
        await server.client().predict_digits(x=np.zeros((1, 65), np.float32))
    assert caught.value.field == "x"
    assert not called


@pytest.mark.parametrize("wrong", [np.zeros((1, 9)), np.zeros((2, 10)), np.zeros((1, 10), "f4")])
async def test_results_are_what_the_schema_says(wrong: npt.NDArray[np.float64]) -> None:
    server = FakeServer(InferenceClient)
    server.answers(InferenceClient.predict_digits)(lambda *, x: wrong)
    with pytest.raises(Internal, match=r"predict_digits\(\) gave what the schema does not allow"):
        await server.client().predict_digits(x=np.zeros((1, 64), np.float32))


@pytest.mark.parametrize("error", [NotFound("no"), FileNotFoundError("no"), TimeoutError("no")])
async def test_what_a_function_raises_the_call_raises(error: Exception) -> None:
    server = FakeServer(InferenceClient)

    def sentiment(*, text: str) -> float:
        raise error

    def tokens(*, prompt: str, count: int, seed: int) -> Iterator[str]:
        yield "first"
        raise error

    server.answers(InferenceClient.predict_sentiment)(sentiment)
    server.answers(InferenceClient.predict_tokens)(tokens)
    client = server.client(timeout=20)
    with pytest.raises(type(error), match="no"):
        await client.predict_sentiment(text="x")
    results = client.predict_tokens(prompt="a", count=2, seed=3)
    assert await anext(results) == "first"
    with pytest.raises(type(error), match="no"):
        await anext(results)


def test_what_cannot_be_answered_is_told() -> None:
    blocking: Any = SyncZooServiceClient
    with pytest.raises(TypeError, match="is no generated client; a blocking one has no fake"):
        FakeServer(blocking)
    server = FakeServer(InferenceClient)
    method: Any = InferenceClient.with_options
    with pytest.raises(ValueError, match="with_options is no method of InferenceClient that mak"):
        server.answers(method)

    def sentiment(*, text: str) -> float:
        return 0.0

    server.answers(InferenceClient.predict_sentiment)(sentiment)
    with pytest.raises(ValueError, match="predict_sentiment is answered already"):
        server.answers(InferenceClient.predict_sentiment)(sentiment)


async def test_deadlines_pass() -> None:
    server = FakeServer(InferenceClient)

    async def sentiment(*, text: str) -> float:
        await asyncio.Event().wait()
        return 0.0

    async def tokens(*, prompt: str, count: int, seed: int) -> AsyncIterator[str]:
        yield "first"
        await asyncio.Event().wait()

    server.answers(InferenceClient.predict_sentiment)(sentiment)
    server.answers(InferenceClient.predict_tokens)(tokens)
    client = server.client(timeout=0.05)
    with pytest.raises(DeadlineExceeded):
        await client.predict_sentiment(text="x")
    results = client.predict_tokens(prompt="a", count=2, seed=3)
    assert await anext(results) == "first"
    with pytest.raises(DeadlineExceeded):
        await anext(results)


def test_a_method_of_another_class_is_refused() -> None:
    server = FakeServer(InferenceClient)
    with pytest.raises(ValueError, match="predict_span is no method of InferenceClient"):
        server.answers(RowsClient.predict_span)  # type: ignore[arg-type]  # that is the mistake
