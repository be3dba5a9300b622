"""What comes beside a result, from a server that says it."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from typing import Any

import h2.connection
import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal
from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler, Status
from grpclib.server import Stream
from inference_client import InferenceClient
from zoo_client import SyncZooServiceClient, ZooServiceClient, ZooV1Animal
from zoo_client.messages import SCHEMA

from blazerpc_client import (
    Aborted,
    InvalidArgument,
    ReceivedMetadata,
    ResourceExhausted,
    Response,
    UnaryMethod,
    Unavailable,
    Unimplemented,
    sync,
    with_response,
)
from blazerpc_client.metadata import received
from blazerpc_client.testing import FakeServer
from tests.unit.blazerpc_client.servers import answering, serving_handlers

Call = Stream[Message, Message]

#: A call that hangs fails, and says so.
TIMEOUT = 5.0

OK = [(":status", "200"), ("content-type", "application/grpc")]
MESSAGE = b"\0\0\0\0\0"


class Zoo:
    """Says of each animal that it answers with: who it is in the metadata, and what is ``said``."""

    def __init__(self, **said: str) -> None:
        self.said = {f"blaze-{key.replace('_', '-')}": value for key, value in said.items()}

    async def one(self, stream: Call) -> None:
        animal: Any = await stream.recv_message()
        await self.begin(stream, animal)
        await asyncio.sleep(0)  # the calls of a test overlap
        await stream.send_message(animal)
        await self.end(stream, animal)

    async def joined(self, stream: Call) -> None:
        animals = [animal async for animal in stream]
        await self.begin(stream, animals[0])
        await stream.send_message(METHODS["ImportAll"].response_class(str=animals))
        await self.end(stream, animals[-1])

    async def several(self, stream: Call) -> None:
        request: Any = await stream.recv_message()
        await self.begin(stream, request.str[0])
        for animal in request.str:
            await stream.send_message(animal)
        await self.end(stream, animal)

    async def each(self, stream: Call) -> None:
        await self.begin(stream, None)
        animal = None
        async for animal in stream:
            await stream.send_message(animal)
            if name(animal) == "enough":
                break
        await self.end(stream, animal)

    async def begin(self, stream: Call, animal: Any) -> None:
        await stream.send_initial_metadata(metadata={"x-first": name(animal)})

    async def end(self, stream: Call, animal: Any) -> None:
        last = name(animal)
        metadata: dict[str, str | bytes] = {"x-last": last, "x-last-bin": last.encode()}
        failed = last == "fail"
        await stream.send_trailing_metadata(
            status=Status.ABORTED if failed else Status.OK,
            status_message="it failed" if failed else None,
            metadata={**metadata, **self.said},
        )

    def __mapping__(self) -> dict[str, Handler]:
        functions = {
            "Import": (self.one, Cardinality.UNARY_UNARY),
            "ImportAll": (self.joined, Cardinality.STREAM_UNARY),
            "Export": (self.several, Cardinality.UNARY_STREAM),
            "Chat": (self.each, Cardinality.STREAM_STREAM),
        }
        return {
            METHODS[rpc].path: Handler(
                function, cardinality, METHODS[rpc].request_class, METHODS[rpc].response_class
            )
            for rpc, (function, cardinality) in functions.items()
        }


METHODS = {
    rpc: UnaryMethod[object](SCHEMA, f"zoo.v1.ZooService.{rpc}")
    for rpc in ("Import", "ImportAll", "Export", "Chat")
}


def name(animal: Any) -> str:
    return getattr(animal, "from", "") or "nobody"


def animal(name: str) -> ZooV1Animal:
    return ZooV1Animal(from_=name)


async def animals(*names: str) -> AsyncIterator[ZooV1Animal]:
    for each in names:
        yield animal(each)


@pytest.fixture
async def target() -> AsyncIterator[str]:
    async with serving_handlers(Zoo(queue_ms="1.5", compute_ms="20", batch_size="7")) as target:
        yield target


@pytest.fixture
async def zoo(target: str) -> AsyncIterator[ZooServiceClient]:
    async with ZooServiceClient(target, timeout=TIMEOUT) as client:
        yield client


@pytest.fixture
def blocking() -> Iterator[SyncZooServiceClient]:
    served = serving_handlers(Zoo(queue_ms="1.5", compute_ms="20", batch_size="7"))
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(served) as target,
        SyncZooServiceClient(target, timeout=TIMEOUT) as client,
    ):
        yield client


def whole(first: str, last: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return the metadata of such a call."""
    said = {"blaze-queue-ms": "1.5", "blaze-compute-ms": "20", "blaze-batch-size": "7"}
    return {"x-first": first}, {"x-last": last, "x-last-bin": last.encode(), **said}


def metadata(response: Any) -> tuple[dict[str, object], dict[str, object]]:
    return dict(response.initial_metadata), dict(response.trailing_metadata)


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


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0.0),
        ("12.25", 12.25),
        ("1e-05", 1e-05),
        ("007", 7.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("1_0", None),
        ("1 ms", None),
        (".", None),
        ("0x10", None),
        ("9" * 5000, None),
    ],
)
def test_what_is_no_number_of_milliseconds_is_none(text: str, number: float | None) -> None:
    response = answered(("blaze-queue-ms", text), ("blaze-compute-ms", text))
    assert (response.queue_ms, response.compute_ms) == (number, number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("64", 64),
        ("0", 0),
        ("1.0", None),
        ("-1", None),
        ("many", None),
        ("1_0", None),
        ("9" * 5000, None),
    ],
)
def test_what_is_no_number_of_requests_is_none(text: str, number: int | None) -> None:
    assert answered(("blaze-batch-size", text)).batch_size == number


def test_of_several_values_the_last_counts() -> None:
    response = answered(("blaze-batch-size", "1"), ("blaze-batch-size", "2"))
    assert response.batch_size == 2


def answered(*items: tuple[str, str]) -> Response[None]:
    return Response(
        result=None, initial_metadata=ReceivedMetadata(), trailing_metadata=ReceivedMetadata(items)
    )


def test_a_response_does_not_change_and_can_be_copied() -> None:
    response = answered(("a", "1"), ("a", "2"))
    with pytest.raises(AttributeError):
        response.result = None  # type: ignore[misc]
    for again in (copy.deepcopy(response), pickle.loads(pickle.dumps(response))):
        assert again.trailing_metadata.get_all("a") == ("1", "2")


def test_metadata_is_a_mapping_that_forgets_no_value() -> None:
    metadata = ReceivedMetadata([("a", "1"), ("b-bin", b"2"), ("a", "3")])
    assert metadata == {"a": "3", "b-bin": b"2"}
    assert metadata.get_all("a") == ("1", "3")
    assert metadata.get_all("c") == ()
    assert repr(metadata) == "ReceivedMetadata([('a', '1'), ('a', '3'), ('b-bin', b'2')])"
    with pytest.raises(TypeError):
        metadata["a"] = "4"  # type: ignore[index]


async def answer(
    headers: list[tuple[str, str]], body: bytes | None, trailers: list[tuple[str, str]]
) -> Response[ZooV1Animal]:
    """Call a peer that answers so."""

    def script(connection: h2.connection.H2Connection, stream: int) -> None:
        connection.send_headers(stream, headers, end_stream=not trailers)
        if body is not None:
            connection.send_data(stream, body)
        if trailers:
            connection.send_headers(stream, trailers, end_stream=True)

    async with (
        answering(script) as target,
        ZooServiceClient(target, timeout=TIMEOUT) as zoo,
    ):
        return await with_response(zoo.import_)


async def test_what_belongs_to_the_protocol_is_no_metadata() -> None:
    response = await answer(
        [*OK, ("grpc-encoding", "identity"), ("server", "some")],
        MESSAGE,
        [("grpc-status", "0"), ("grpc-message", "fine"), ("x", "y"), ("grpc-previous", "2")],
    )
    assert metadata(response) == ({"server": "some"}, {"x": "y", "grpc-previous": "2"})


def test_a_binary_value_that_is_none_is_left_out() -> None:
    assert received([("a-bin", "A"), ("b-bin", "YQ,A"), ("c", "A")]) == {"b-bin": b"a", "c": "A"}


async def test_values_of_one_key_may_be_joined_on_the_way() -> None:
    response = await answer(
        OK, MESSAGE, [("grpc-status", "0"), ("a-bin", "YQ==,Yg"), ("a-bin", "Yw"), ("t", "a,b")]
    )
    assert response.trailing_metadata.get_all("a-bin") == (b"a", b"b", b"c")
    assert response.trailing_metadata.get_all("t") == ("a,b",)


@pytest.mark.parametrize("body", [None, b""])
async def test_a_server_says_when_to_come_back(body: bytes | None) -> None:
    status = [("grpc-status", "8"), ("grpc-retry-pushback-ms", "250")]
    with pytest.raises(ResourceExhausted) as caught:
        # With and without headers before the trailers.
        await (answer(OK + status, None, []) if body is None else answer(OK, None, status))
    assert caught.value.trailing_metadata == {"grpc-retry-pushback-ms": "250"}


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


def test_blocking_clients_have_their_own(blocking: SyncZooServiceClient) -> None:
    response = sync.with_response(blocking.import_, from_="rex")
    assert response.result.from_ == "rex"
    assert metadata(response) == whole("rex", "rex")
    assert (response.queue_ms, response.compute_ms, response.batch_size) == (1.5, 20.0, 7)
    joined = sync.with_response(blocking.import_all, [animal("rex"), animal("pip")])
    assert metadata(joined) == whole("rex", "pip")
    with pytest.raises(Aborted) as caught:
        sync.with_response(blocking.import_, from_="fail")
    assert caught.value.trailing_metadata["x-last"] == "fail"


def test_blocking_streams_have_their_own(blocking: SyncZooServiceClient) -> None:
    stream = sync.with_response(blocking.export, str=[animal("rex"), animal("pip")])
    with pytest.raises(RuntimeError, match="has not ended"):
        stream.trailing_metadata  # noqa: B018
    assert [each.from_ for each in stream] == ["rex", "pip"]
    assert metadata(stream) == whole("rex", "pip")
    assert stream.batch_size == 7
    chat = sync.with_response(blocking.chat, iter([animal("rex")]))
    assert list(chat) == [animal("rex")]
    assert metadata(chat) == whole("nobody", "rex")


def test_a_blocking_stream_that_was_left_or_failed_has_no_metadata(
    blocking: SyncZooServiceClient,
) -> None:
    with closing(sync.with_response(blocking.export, str=[animal("rex"), animal("pip")])) as left:
        assert next(left) == animal("rex")
    failed = sync.with_response(blocking.export, str=[animal("fail")])
    with pytest.raises(Aborted):
        list(failed)
    for stream in (left, failed):
        assert list(stream) == []
        with pytest.raises(RuntimeError, match="failed or was left"):
            stream.queue_ms  # noqa: B018


def test_threads_share_a_blocking_client(blocking: SyncZooServiceClient) -> None:
    names = [f"animal-{number}" for number in range(40)]

    def last(name: str) -> str | bytes:
        return sync.with_response(blocking.import_, from_=name).trailing_metadata["x-last"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(last, names)) == names


def test_a_blocking_call_that_feeds_another_is_not_that_one(blocking: SyncZooServiceClient) -> None:
    def fed() -> Iterator[ZooV1Animal]:
        yield animal("first")
        yield blocking.import_(from_="rex")
        yield animal("last")

    response = sync.with_response(blocking.import_all, fed())
    assert metadata(response) == whole("first", "last")
