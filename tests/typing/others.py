"""What type checkers know of clients of somebody else's services, and of functions in place."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from datetime import datetime
from typing import assert_type

import numpy as np
import numpy.typing as npt
from inference_client import InferenceClient
from zoo_client import (
    AnimalCage,
    Diet,
    Known,
    Size,
    SyncZooServiceClient,
    ZooClient,
    ZooLegacyAnimal,
    ZooServiceClient,
    ZooV1Animal,
)
from zoo_client import list as ListOfAnimals  # noqa: N812

from blazerpc_client.testing import FakeServer

rex = ZooV1Animal(from_="here", size=Size.TINY, cages={"a": AnimalCage(number=1)})


async def animals() -> AsyncIterator[ZooV1Animal]:
    yield rex


async def cages() -> AsyncIterator[AnimalCage]:
    yield AnimalCage()


async def calls(zoo: ZooServiceClient, other: ZooClient) -> None:
    assert_type(await zoo.import_(rex), ZooV1Animal)
    assert_type(await zoo.import_(from_="here", size=Size.SMALL, weight=1.5), ZooV1Animal)
    assert_type(await zoo.import_all(animals()), ListOfAnimals)
    assert_type(zoo.export(str=[rex]), AsyncIterator[ZooV1Animal])
    assert_type(zoo.export(ListOfAnimals(str=[rex])), AsyncIterator[ZooV1Animal])
    assert_type(zoo.chat(animals()), AsyncIterator[ZooV1Animal])
    assert_type(await other.import_(Known()), Known)
    assert_type(await zoo.recall(name="Rex", diet=[Diet.MEAT]), ZooLegacyAnimal)

    await zoo.import_(rex, from_="here")  # E: No overload variant
    await zoo.import_(AnimalCage())  # E: No overload variant
    await zoo.import_(size=1)  # E: No overload variant
    await zoo.import_(load="x")  # E: Unexpected keyword argument
    await zoo.recall()  # E: All overload variants
    await zoo.import_all([rex])  # E: Argument 1 to "import_all"
    await zoo.import_all(cages())  # E: Argument 1 to "import_all"
    zoo.chat(cages())  # E: Argument 1 to "chat"
    await zoo.chat(animals())  # E: Incompatible types in "await"


def blocking(zoo: SyncZooServiceClient) -> None:
    with zoo as client:
        assert_type(client, SyncZooServiceClient)
    assert_type(zoo.import_(from_="here"), ZooV1Animal)
    assert_type(zoo.import_all([rex]), ListOfAnimals)
    assert_type(zoo.export(str=[rex]), Iterator[ZooV1Animal])
    assert_type(zoo.chat(iter([rex])), Iterator[ZooV1Animal])
    zoo.import_all(animals())  # E: Argument 1 to "import_all"
    zoo.import_(from_=1)  # E: No overload variant


def messages() -> None:
    assert_type(rex.parent, ZooV1Animal | None)
    assert_type(rex.street, str | None)
    assert_type(rex.class_, int)
    assert_type(Known().at, datetime | None)
    assert_type(Known().text, str | None)
    assert_type(Known().answers, list[bool])
    assert_type(Known().doubles, dict[str, float])
    ZooLegacyAnimal()  # E: Missing named argument "name"
    ZooV1Animal(size=Diet.MEAT)  # E: Argument "size"
    ZooV1Animal(tags=["a"])  # E: List item 0


def functions() -> None:
    server = FakeServer(InferenceClient)
    assert_type(server.client(), InferenceClient)

    def right(*, text: str) -> float:
        return 0.0

    async def later(*, text: str) -> float:
        return 0.0

    def wrong_result(*, text: str) -> str:
        return ""

    def wrong_name(*, words: str) -> float:
        return 0.0

    def wrong_type(*, text: int) -> float:
        return 0.0

    def array(*, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return x

    server.answers(InferenceClient.predict_sentiment)(right)
    server.answers(InferenceClient.predict_sentiment)(later)
    server.answers(InferenceClient.predict_sentiment)(wrong_result)  # E: Argument 1
    server.answers(InferenceClient.predict_sentiment)(wrong_name)  # E: Argument 1
    server.answers(InferenceClient.predict_sentiment)(wrong_type)  # E: Argument 1
    server.answers(InferenceClient.predict_digits)(array)  # E: Argument 1
    server.answers(InferenceClient.predict_tokens)(right)  # E: Argument 1
    server.answers(ZooServiceClient.import_)(right)  # E: Argument 1

    def request(request: ZooV1Animal) -> ZooV1Animal:
        return request

    def requests(requests: AsyncIterable[ZooV1Animal]) -> ListOfAnimals:
        return ListOfAnimals()

    zoo = FakeServer(ZooServiceClient)
    zoo.answers(ZooServiceClient.import_)(request)
    zoo.answers(ZooServiceClient.import_all)(requests)
    zoo.answers(ZooServiceClient.import_all)(request)  # E: Argument 1
