"""What comes beside a result: each call has its own, and its streams at their ends."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import numpy as np
import pytest
from inference_client import InferenceClient
from zoo_client import ZooServiceClient, ZooV1Animal

from blazerpc_client import (
    Aborted,
    InvalidArgument,
    Response,
    Unavailable,
    Unimplemented,
    with_response,
)
from blazerpc_client.testing import FakeServer
from tests.unit.blazerpc_client.zoo import TIMEOUT, animal, metadata, serving_zoo, whole


async def animals(*names: str) -> AsyncIterator[ZooV1Animal]:
    for each in names:
        yield animal(each)


@pytest.fixture
async def target() -> AsyncIterator[str]:
    async with serving_zoo() as target:
        yield target


@pytest.fixture
async def zoo(target: str) -> AsyncIterator[ZooServiceClient]:
    async with ZooServiceClient(target, timeout=TIMEOUT) as client:
        yield client


async def test_a_result_and_what_came_beside_it(zoo: ZooServiceClient) -> None:
    response = await with_response(zoo.import_, from_="rex")
    assert response.result.from_ == "rex"
    assert metadata(response) == whole("rex", "rex")
    assert (response.queue_ms, response.compute_ms, response.batch_size) == (1.5, 20.0, 7)


async def test_a_stream_of_requests(zoo: ZooServiceClient) -> None:
    response = await with_response(zoo.import_all, animals("rex", "pip"))
    assert response.result.str == [animal("rex"), animal("pip")]
    assert metadata(response) == whole("rex", "pip")


async def test_a_stream_of_results_has_its_metadata_at_its_end(zoo: ZooServiceClient) -> None:
    stream = with_response(zoo.export, str=[animal("rex"), animal("pip")])
    with pytest.raises(RuntimeError, match="has not ended"):
        stream.trailing_metadata  # noqa: B018
    async for each in stream:
        assert each in (animal("rex"), animal("pip"))
        with pytest.raises(RuntimeError, match="has not ended"):
            stream.initial_metadata  # noqa: B018
        with pytest.raises(RuntimeError, match="has not ended"):
            stream.queue_ms  # noqa: B018
    assert metadata(stream) == whole("rex", "pip")
    assert (stream.queue_ms, stream.compute_ms, stream.batch_size) == (1.5, 20.0, 7)
    await stream.aclose()
    assert metadata(stream) == whole("rex", "pip")


async def test_streams_in_both_directions(zoo: ZooServiceClient) -> None:
    stream = with_response(zoo.chat, animals("rex", "pip"))
    assert [each.from_ async for each in stream] == ["rex", "pip"]
    assert metadata(stream) == whole("nobody", "pip")


async def test_a_stream_without_results(zoo: ZooServiceClient) -> None:
    stream = with_response(zoo.chat, animals())
    assert [each async for each in stream] == []
    assert metadata(stream) == whole("nobody", "nobody")


async def test_a_stream_that_was_left_has_no_metadata(zoo: ZooServiceClient) -> None:
    stream = with_response(zoo.export, str=[animal("rex"), animal("pip")])
    async with aclosing(stream):
        assert await anext(stream) == animal("rex")
    assert [each async for each in stream] == []
    with pytest.raises(RuntimeError, match="failed or was left"):
        stream.batch_size  # noqa: B018


async def test_a_stream_that_failed_has_it_in_its_error(zoo: ZooServiceClient) -> None:
    stream = with_response(zoo.export, str=[animal("rex"), animal("fail")])
    with pytest.raises(Aborted) as caught:
        _ = [each async for each in stream]
    assert dict(caught.value.trailing_metadata) == whole("", "fail")[1]
    assert [each async for each in stream] == []
    with pytest.raises(RuntimeError, match="failed or was left"):
        stream.trailing_metadata  # noqa: B018


async def test_an_error_carries_its_metadata_without_being_asked(zoo: ZooServiceClient) -> None:
    with pytest.raises(Aborted, match="it failed") as caught:
        await zoo.import_(from_="fail")
    assert caught.value.trailing_metadata["x-last-bin"] == b"fail"
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.trailing_metadata == caught.value.trailing_metadata


async def test_an_error_of_no_server_has_no_metadata(zoo: ZooServiceClient) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await with_response(zoo.import_, class_=1 << 80)
    async with ZooServiceClient("127.0.0.1:1") as nobody:
        with pytest.raises(Unavailable) as unreached:
            await with_response(nobody.import_)
    assert refused.value.trailing_metadata == unreached.value.trailing_metadata == {}


async def test_a_stream_checks_its_arguments_when_it_is_called(zoo: ZooServiceClient) -> None:
    with pytest.raises(InvalidArgument):
        with_response(zoo.export, str=[ZooV1Animal(class_=1 << 80)])


async def test_each_of_many_calls_gets_its_own(zoo: ZooServiceClient) -> None:
    options = zoo.with_options(metadata={"x-tenant": "7"})
    names = [f"animal-{number}" for number in range(100)]
    responses = await asyncio.gather(
        *(
            with_response((zoo if number % 2 else options).import_, from_=name)
            for number, name in enumerate(names)
        )
    )
    assert [response.trailing_metadata["x-last"] for response in responses] == names
    assert [response.result.from_ for response in responses] == names


async def test_calls_one_after_another_in_one_task(zoo: ZooServiceClient) -> None:
    first = await with_response(zoo.import_, from_="rex")
    await zoo.import_(from_="pip")
    second = await with_response(zoo.import_, from_="mia")
    assert metadata(first) == whole("rex", "rex")
    assert metadata(second) == whole("mia", "mia")


async def test_streams_that_take_turns(zoo: ZooServiceClient) -> None:
    one = with_response(zoo.export, str=[animal("rex"), animal("pip")])
    other = with_response(zoo.export, str=[animal("mia"), animal("zed")])
    pairs = [(await anext(one), await anext(other)) for _ in range(2)]
    assert pairs == [(animal("rex"), animal("mia")), (animal("pip"), animal("zed"))]
    assert [each async for each in other] == [each async for each in one] == []
    assert metadata(one) == whole("rex", "pip")
    assert metadata(other) == whole("mia", "zed")


async def test_of_a_function_with_several_calls_the_last_that_succeeded_counts(
    zoo: ZooServiceClient,
) -> None:
    async def both(first: str, second: str) -> list[str]:
        found = [await zoo.import_(from_=first), await zoo.import_(from_=second)]
        with pytest.raises(Aborted):
            await zoo.import_(from_="fail")
        with pytest.raises(Unimplemented):  # here the status comes before any message
            await zoo.recall(name="rex")
        return [each.from_ for each in found]

    response = await with_response(both, "rex", second="pip")
    assert response.result == ["rex", "pip"]
    assert metadata(response) == whole("pip", "pip")


async def test_a_function_without_a_call_has_no_metadata() -> None:
    async def nothing() -> int:
        return 1

    response = await with_response(nothing)
    assert response.result == 1
    assert metadata(response) == ({}, {})
    assert response.queue_ms is response.compute_ms is response.batch_size is None


async def test_a_call_that_feeds_another_is_not_that_one(zoo: ZooServiceClient) -> None:
    async def fed() -> AsyncIterator[ZooV1Animal]:
        yield animal("first")
        async for each in zoo.export(str=[animal("rex")]):
            yield each
        yield await zoo.import_(from_="pip")

    response = await with_response(zoo.import_all, fed())
    assert metadata(response) == whole("first", "pip")
    assert response.result.str is not None
    stream = with_response(zoo.chat, fed())
    assert [each.from_ async for each in stream] == ["first", "rex", "pip"]
    assert metadata(stream) == whole("nobody", "pip")


async def test_a_call_that_ends_after_the_one_it_fed_is_not_that_one(
    zoo: ZooServiceClient,
) -> None:
    released = asyncio.Event()

    async def fed() -> AsyncIterator[ZooV1Animal]:
        try:
            yield animal("enough")
            await asyncio.Event().wait()
        finally:
            await zoo.import_(from_="rex")
            released.set()

    stream = with_response(zoo.chat, fed())
    assert [each.from_ async for each in stream] == ["enough"]
    assert released.is_set()
    assert metadata(stream) == whole("nobody", "enough")


async def test_one_within_another_keeps_what_it_gets(zoo: ZooServiceClient) -> None:
    async def within() -> Response[ZooV1Animal]:
        return await with_response(zoo.import_, from_="rex")

    response = await with_response(within)
    assert metadata(response.result) == whole("rex", "rex")
    assert metadata(response) == ({}, {})


async def test_functions_in_the_place_of_a_server_say_nothing() -> None:
    server = FakeServer(InferenceClient)

    @server.answers(InferenceClient.predict_sentiment)
    def sentiment(*, text: str) -> float:
        return 0.5

    @server.answers(InferenceClient.predict_tokens)
    def tokens(*, prompt: str, count: int, seed: int) -> Iterator[str]:
        yield prompt

    async with server.client() as client:
        response = await with_response(client.predict_sentiment, text="great")
        assert response.result == 0.5
        assert metadata(response) == ({}, {})
        assert response.queue_ms is response.batch_size is None
        stream = with_response(client.predict_tokens, prompt="great", count=1, seed=1)
        assert [token async for token in stream] == ["great"]
        assert metadata(stream) == ({}, {})
        with pytest.raises(Unimplemented):
            await with_response(client.predict_digits, x=np.zeros((1, 64), np.float32))
