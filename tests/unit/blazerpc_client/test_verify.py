from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from inference_client import InferenceClient

from blazerpc import BlazeApp
from blazerpc_client import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    SchemaMismatchWarning,
    Unavailable,
    Unimplemented,
)
from examples.app import app as examples
from tests.unit.blazerpc_client.servers import serving, serving_handlers


def another() -> BlazeApp:
    """Return an app whose sentiment takes more than the client knows of."""
    app = BlazeApp()

    @app.model("sentiment")
    def sentiment(text: str, language: str) -> float:
        return 0.0

    @app.model("tokens")
    async def tokens(prompt: str, count: int, seed: int) -> AsyncIterator[str]:
        yield prompt

    return app


OTHER = (
    r"has another schema than this client: blazerpc\.SentimentRequest\.language: a required field "
    r"was added, and 1 more; generate the client again"
)


async def test_a_server_of_the_same_schema_is_called() -> None:
    async with serving(examples) as target, InferenceClient(target, verify="error") as client:
        assert await client.predict_sentiment(text="great") > 0


async def test_a_server_of_another_schema_is_refused() -> None:
    async with serving(another()) as target, InferenceClient(target, verify="error") as client:
        for call in (client, client.with_options(timeout=5)):
            with pytest.raises(FailedPrecondition, match=OTHER):
                await call.predict_sentiment(text="great")
        with pytest.raises(FailedPrecondition, match=OTHER):
            await anext(client.predict_tokens(prompt="a", count=1, seed=1))


async def test_a_warning_is_given_once_and_calls_go_on() -> None:
    async with serving(another()) as target, InferenceClient(target, verify="warn") as client:
        with pytest.warns(SchemaMismatchWarning, match=OTHER) as given:
            results = await asyncio.gather(*(client.predict_sentiment(text="") for _ in range(3)))
        assert results == [0.0] * 3
        assert len(given) == 1
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert await client.with_options(timeout=5).predict_sentiment(text="") == 0.0


async def test_every_connection_is_asked_anew() -> None:
    async with serving(examples) as target:
        client = InferenceClient(target, verify="error")
        assert await client.predict_sentiment(text="great") > 0
        port = int(target.rpartition(":")[2])
    async with client, serving(another(), port) as target:
        with pytest.raises(FailedPrecondition, match=OTHER):
            await client.predict_sentiment(text="great")


async def test_an_answer_of_another_type_is_told_without_being_asked_for() -> None:
    app = BlazeApp()

    @app.model("sentiment")
    def sentiment(text: str) -> str:
        return text

    async with serving(app) as target, InferenceClient(target) as client:
        with pytest.raises(Internal, match="result: has another type in the sender's schema; gen"):
            await client.predict_sentiment(text="great")


async def test_a_request_of_another_type_is_told_by_the_server() -> None:
    app = BlazeApp()

    @app.model("sentiment")
    def sentiment(text: int) -> float:
        return float(text)

    async with serving(app) as target, InferenceClient(target) as client:
        with pytest.raises(InvalidArgument, match="text: has another type in the sender's") as told:
            await client.predict_sentiment(text="great")
        assert told.value.field == "text"


async def test_nothing_is_asked_unless_it_is_wanted() -> None:
    async with serving(another()) as target, InferenceClient(target) as client:
        assert await client.predict_sentiment(text="") == 0.0


async def test_a_schema_that_cannot_be_read_is_told() -> None:
    async with serving_handlers() as target:
        async with InferenceClient(target, verify="error") as client:
            with pytest.raises(Unimplemented, match="has no reflection service"):
                await client.predict_sentiment(text="")
        async with InferenceClient(target, verify="warn") as client:
            with (
                pytest.warns(SchemaMismatchWarning, match="has no reflection service"),
                pytest.raises(Unimplemented),
            ):
                await client.predict_sentiment(text="")


async def test_a_server_that_was_not_there_is_asked_again() -> None:
    async with serving(examples) as target:
        pass
    async with InferenceClient(target, verify="error") as client:
        with pytest.raises(Unavailable):
            await client.predict_sentiment(text="")
        with pytest.raises(Unavailable):
            await client.predict_sentiment(text="")


def test_what_is_no_mode_is_refused() -> None:
    mode: Any = "maybe"
    with pytest.raises(InvalidArgument, match="verify: 'maybe' is not off, warn or error"):
        InferenceClient("localhost:1", verify=mode)
