"""What metadata of an answer is, and the numbers that it says."""

from __future__ import annotations

import copy
import pickle

import pytest
from zoo_client import ZooServiceClient, ZooV1Animal

from blazerpc_client import ReceivedMetadata, ResourceExhausted, Response, with_response
from blazerpc_client.metadata import received
from tests.unit.blazerpc_client.servers import OK, Script, answer, answering
from tests.unit.blazerpc_client.zoo import TIMEOUT, metadata

EMPTY = b"\0\0\0\0\0"


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


async def called(script: Script) -> Response[ZooV1Animal]:
    """Call a peer that answers so."""
    async with (
        answering(script) as target,
        ZooServiceClient(target, timeout=TIMEOUT) as zoo,
    ):
        return await with_response(zoo.import_)


async def test_what_belongs_to_the_protocol_is_no_metadata() -> None:
    script = answer(
        [*OK, ("grpc-encoding", "identity"), ("server", "some")],
        EMPTY,
        [("grpc-status", "0"), ("grpc-message", "fine"), ("x", "y"), ("grpc-previous", "2")],
    )
    response = await called(script)
    assert metadata(response) == ({"server": "some"}, {"x": "y", "grpc-previous": "2"})


def test_a_binary_value_that_is_none_is_left_out() -> None:
    assert received([("a-bin", "A"), ("b-bin", "YQ,A"), ("c", "A")]) == {"b-bin": b"a", "c": "A"}


async def test_values_of_one_key_may_be_joined_on_the_way() -> None:
    script = answer(
        OK, EMPTY, [("grpc-status", "0"), ("a-bin", "YQ==,Yg"), ("a-bin", "Yw"), ("t", "a,b")]
    )
    response = await called(script)
    assert response.trailing_metadata.get_all("a-bin") == (b"a", b"b", b"c")
    assert response.trailing_metadata.get_all("t") == ("a,b",)


@pytest.mark.parametrize("body", [None, b""])
async def test_a_server_says_when_to_come_back(body: bytes | None) -> None:
    status = [("grpc-status", "8"), ("grpc-retry-pushback-ms", "250")]
    with pytest.raises(ResourceExhausted) as caught:
        # With and without headers before the trailers.
        await called(answer(OK + status) if body is None else answer(OK, None, status))
    assert caught.value.trailing_metadata == {"grpc-retry-pushback-ms": "250"}
