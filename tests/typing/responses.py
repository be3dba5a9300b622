"""What type checkers know of results with what came beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

import numpy as np
import numpy.typing as npt
from inference_client import InferenceClient
from zoo_client import AnimalCage, SyncZooServiceClient, ZooServiceClient, ZooV1Animal
from zoo_client import list as ListOfAnimals  # noqa: N812

from blazerpc_client import (
    BlazeClient,
    ReceivedMetadata,
    Response,
    RpcError,
    StreamResponse,
    sync,
    with_response,
)

floats = np.zeros((2, 64), np.float32)
rex = ZooV1Animal(from_="here")


async def animals() -> AsyncIterator[ZooV1Animal]:
    yield rex


async def models(client: InferenceClient, dynamic: BlazeClient) -> None:
    response = await with_response(client.predict_sentiment, text="great")
    assert_type(response, Response[float])
    assert_type(response.result, float)
    assert_type(response.trailing_metadata, ReceivedMetadata)
    assert_type(response.initial_metadata["a"], str | bytes)
    assert_type(response.queue_ms, float | None)
    assert_type(response.compute_ms, float | None)
    assert_type(response.batch_size, int | None)
    digits = await with_response(client.with_options(timeout=1).predict_digits, x=floats)
    assert_type(digits, Response[npt.NDArray[np.float64]])
    assert_type(await with_response(dynamic.predict, "sentiment", text=""), Response[object])
    assert_type(with_response(dynamic.stream, "tokens"), StreamResponse[object])

    stream = with_response(client.predict_tokens, prompt="great", count=3, seed=1)
    assert_type(stream, StreamResponse[str])
    assert_type([token async for token in stream], list[str])
    assert_type(stream.batch_size, int | None)
    await stream.aclose()

    await with_response(client.predict_sentiment)  # E: No overload variant
    await with_response(client.predict_sentiment, "great")  # E: No overload variant
    await with_response(client.predict_sentiment, text=3)  # E: No overload variant
    await with_response(client.predict_sentiment, text="", top_k=3)  # E: No overload variant
    await with_response(client.predict_digits, x=[[0.0]])  # E: No overload variant
    with_response(client.predict_tokens, prompt="", count=1.5, seed=1)  # E: No overload variant
    await with_response(client.predict_tokens, prompt="", count=1, seed=1)  # E: Incompatible types
    score: str = (await with_response(client.predict_sentiment, text="")).result  # E: Incompatible
    print(score)
    response.result = 1.0  # E: "result"
    response.trailing_metadata["a"] = "b"  # E: Unsupported target


async def several(client: InferenceClient) -> None:
    async def mean(texts: list[str]) -> float:
        scores = [await client.predict_sentiment(text=text) for text in texts]
        return sum(scores) / len(scores)

    assert_type(await with_response(mean, ["great"]), Response[float])
    await with_response(mean, [1])  # E: No overload variant


async def others(zoo: ZooServiceClient) -> None:
    assert_type(await with_response(zoo.import_, rex), Response[ZooV1Animal])
    assert_type(await with_response(zoo.import_, from_="here"), Response[ZooV1Animal])
    assert_type(await with_response(zoo.import_all, animals()), Response[ListOfAnimals])
    assert_type(with_response(zoo.export, str=[rex]), StreamResponse[ZooV1Animal])
    assert_type(with_response(zoo.export, ListOfAnimals()), StreamResponse[ZooV1Animal])
    assert_type(with_response(zoo.chat, animals()), StreamResponse[ZooV1Animal])

    await with_response(zoo.import_, AnimalCage())  # E: No overload variant
    await with_response(zoo.import_, rex, from_="here")  # E: Argument 1 to "with_response"
    await with_response(zoo.import_, from_=1)  # E: No overload variant
    await with_response(zoo.import_all, [rex])  # E: No overload variant
    with_response(zoo.chat, rex)  # E: No overload variant


def blocking(zoo: SyncZooServiceClient) -> None:
    assert_type(sync.with_response(zoo.import_, rex), Response[ZooV1Animal])
    assert_type(sync.with_response(zoo.import_, from_="here").result, ZooV1Animal)
    assert_type(sync.with_response(zoo.import_all, [rex]), Response[ListOfAnimals])
    stream = sync.with_response(zoo.export, str=[rex])
    assert_type(stream, sync.StreamResponse[ZooV1Animal])
    assert_type(iter(stream), Iterator[ZooV1Animal])
    assert_type(list(stream), list[ZooV1Animal])
    assert_type(stream.queue_ms, float | None)
    stream.close()

    sync.with_response(zoo.import_, from_=1)  # E: No overload variant
    sync.with_response(zoo.import_all, animals())  # E: No overload variant
    with_response(zoo.import_, rex)  # E: No overload variant


def failures(error: RpcError) -> None:
    assert_type(error.trailing_metadata, ReceivedMetadata)
    assert_type(error.trailing_metadata.get_all("a"), tuple[str | bytes, ...])
