"""What mypy knows of a generated client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import assert_type

import numpy as np
import numpy.typing as npt
from inference_client import DigitsRequest, InferenceClient, SentimentResponse

from blazerpc_client import BlazeClient, InvalidArgument, RpcError

floats = np.zeros((2, 64), np.float32)
doubles = np.zeros((2, 64), np.float64)


async def main() -> None:
    async with InferenceClient("localhost:50051", timeout=1) as client:
        assert_type(client, InferenceClient)
        assert_type(client.with_options(timeout=2, metadata={"a": "b"}), InferenceClient)
        assert_type(await client.predict_sentiment(text="great"), float)
        assert_type(await client.predict_digits(x=floats), npt.NDArray[np.float64])
        tokens = client.predict_tokens(prompt="great", count=3, seed=1)
        assert_type(tokens, AsyncIterator[str])

        await client.predict_sentiment("great")  # E: Too many positional arguments
        await client.predict_sentiment(text=3)  # E: Argument "text"
        await client.predict_sentiment()  # E: Missing named argument "text"
        await client.predict_sentiment(text="great", top_k=3)  # E: Unexpected keyword argument
        await client.predict_digits(x=doubles)  # E: Argument "x" to "predict_digits"
        await client.predict_digits(x=[[0.0]])  # E: Argument "x" to "predict_digits"
        await client.predict_tokens(prompt="", count=3, seed=1)  # E: Incompatible types in "await"
        client.predict_tokens(prompt="", count=1.5, seed=1)  # E: Argument "count"
        await client.predict_nothing()  # E: has no attribute "predict_nothing"
        score: str = await client.predict_sentiment(text="great")  # E: Incompatible types
        print(score)
        client.with_options(timeout="soon")  # E: Argument "timeout"
        client.with_options(metadata={"a": 1})  # E: Dict entry 0 has incompatible type


async def dynamic() -> None:
    async with BlazeClient("localhost", 50051) as client:
        assert_type(await client.predict("sentiment", text="great"), object)
        await client.predict(model="sentiment")  # E: Too few arguments
        BlazeClient("localhost", "50051")  # E: Argument 2 to "BlazeClient"


def messages(error: RpcError) -> None:
    assert_type(DigitsRequest(x=floats).x, npt.NDArray[np.float32])
    assert_type(SentimentResponse.parse(b"").result, float)
    DigitsRequest(x="great")  # E: Argument "x" to "DigitsRequest"
    DigitsRequest(y=floats)  # E: Unexpected keyword argument "y"
    if isinstance(error, InvalidArgument):
        assert_type(error.field, str | None)
    else:
        print(error.field)  # E: has no attribute "field"


InferenceClient(50051)  # E: Argument 1 to "InferenceClient"
