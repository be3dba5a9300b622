"""The example app, called with its committed client."""

from __future__ import annotations

import asyncio
from typing import assert_type

import numpy as np
import numpy.typing as npt
import pytest
from inference_client import DigitsRequest, InferenceClient

from blazerpc_client import (
    BlazeClient,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unimplemented,
)
from examples.digits import Digits
from tests.conftest import ServerProcess


async def test_sentiment_tells_good_from_bad(examples: ServerProcess) -> None:
    async with InferenceClient(examples.target) as client:
        good = await client.predict_sentiment(text="great, wonderful, I love it")
        assert_type(good, float)
        assert good > 0.5
        assert await client.predict_sentiment(text="awful, I hate it") < -0.5


async def test_digits_are_classified_as_by_the_model_itself(examples: ServerProcess) -> None:
    digits = Digits()
    async with InferenceClient(examples.target) as client:
        probabilities = await client.predict_digits(x=digits.images)
    assert_type(probabilities, npt.NDArray[np.float64])
    np.testing.assert_array_equal(probabilities, digits.probabilities(digits.images))
    assert digits.accuracy(probabilities) > 0.95


async def test_no_rows_in_no_rows_out(examples: ServerProcess) -> None:
    async with InferenceClient(examples.target) as client:
        empty = await client.predict_digits(x=np.empty((0, 64), np.float32))
    assert empty.shape == (0, 10)


async def test_tokens_stream_and_are_reproducible(examples: ServerProcess) -> None:
    async with InferenceClient(examples.target) as client:
        first = [t async for t in client.predict_tokens(prompt="The data", count=20, seed=3)]
        again = [t async for t in client.predict_tokens(prompt="The data", count=20, seed=3)]
        other = [t async for t in client.predict_tokens(prompt="The data", count=20, seed=4)]
    assert_type(first, list[str])
    assert len(first) == 20
    assert first == again != other


async def test_a_stream_can_be_left_early_and_the_client_goes_on(examples: ServerProcess) -> None:
    async with InferenceClient(examples.target) as client:
        async for _ in client.predict_tokens(prompt="", count=1_000_000, seed=1):
            break
        assert await client.predict_sentiment(text="table") == 0


async def test_many_calls_at_once_get_each_its_own_answer(examples: ServerProcess) -> None:
    digits = Digits()
    rows = digits.images[:64]
    async with InferenceClient(examples.target) as client:
        calls = [client.predict_digits(x=row[None]) for row in rows]
        answers = await asyncio.gather(*calls)
    np.testing.assert_array_equal(np.concatenate(answers), digits.probabilities(rows))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((1, 64)), "x: expected dtype float32, got float64"),
        (np.zeros((1, 63), np.float32), r"x: expected shape \(batch, 64\), got \(1, 63\)"),
        (np.zeros(64, np.float32), r"x: expected shape \(batch, 64\), got \(64,\)"),
    ],
)
async def test_a_wrong_array_is_refused_before_anything_is_sent(
    array: npt.NDArray[np.float32], message: str
) -> None:
    # Nobody listens there: what would be sent would fail as Unavailable.
    async with InferenceClient("127.0.0.1:1") as client:
        with pytest.raises(InvalidArgument, match=message) as caught:
            await client.predict_digits(x=array)
    assert caught.value.field == "x"


async def test_an_int_beyond_64_bits_is_refused_before_anything_is_sent() -> None:
    async with InferenceClient("127.0.0.1:1") as client:
        with pytest.raises(InvalidArgument, match="count: value is out of range for int64"):
            client.predict_tokens(prompt="", count=1 << 63, seed=0)


async def test_nobody_listening_is_unavailable_and_names_the_address() -> None:
    async with InferenceClient("127.0.0.1:1") as client:
        with pytest.raises(Unavailable, match=r"cannot reach 127\.0\.0\.1:1: "):
            await client.predict_sentiment(text="")


async def test_options_apply_to_the_client_they_were_asked_for(examples: ServerProcess) -> None:
    async with InferenceClient(examples.target) as client:
        hurried = client.with_options(timeout=1e-9, metadata={"x-tenant": "7"})
        assert_type(hurried, InferenceClient)
        with pytest.raises(DeadlineExceeded):
            await hurried.predict_sentiment(text="great")
        assert await client.predict_sentiment(text="great") > 0


async def test_the_dynamic_client_learns_the_models_by_reflection(examples: ServerProcess) -> None:
    async with BlazeClient("127.0.0.1", examples.port) as client:
        assert await client.predict("sentiment", text="great") == pytest.approx(0.6249)
        words = [word async for word in client.stream("tokens", prompt="", count=3, seed=1)]
        assert len(words) == 3
        with pytest.raises(NotFound, match="no model 'sentimant'; the server has: sentiment"):
            await client.predict("sentimant", text="great")


async def test_a_method_of_another_schema_is_unimplemented(models: ServerProcess) -> None:
    async with InferenceClient(models.target) as client:
        with pytest.raises(Unimplemented):
            await client.predict_sentiment(text="great")


async def test_the_server_says_what_it_serves(examples: ServerProcess) -> None:
    for cell in ("sentiment", "float32 (batch, 64)", "float64 (batch, 10)", "stream of str"):
        assert cell in examples.banner


def test_messages_are_dataclasses_with_the_wire_format_of_protobuf() -> None:
    request = DigitsRequest(x=np.ones((2, 64), np.float32))
    assert DigitsRequest.parse(bytes(request)) == request
    assert DigitsRequest.from_dict(request.to_dict()) == request
