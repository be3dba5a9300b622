"""Calls that are made again, at a server that fails as it is asked to."""

from __future__ import annotations

import json
import time

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from blazerpc_client import (
    Aborted,
    CallOptions,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
    Unavailable,
)
from tests.integration.reach import CALL, RETRY, SAY, Peer, Rpc, channel, repeat, say


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_a_call_is_made_again_as_the_policy_says(peer: Peer, http: str) -> None:
    async with channel(peer.target, retry=RETRY, http=http) as made:
        attempts = (await say(made, key=http, failures=3))["attempts"]
    # grpclib's own calls carry no headers that begin with "grpc-".
    assert attempts == ([None, "1", "2", "3"] if http == "blaze" else [None] * 4)


async def test_a_call_that_keeps_failing_ends_with_the_failure(peer: Peer) -> None:
    async with channel(peer.target, retry=RETRY) as made:
        with pytest.raises(Unavailable, match="as it was asked"):
            await say(made, key="a", failures=9)
        # Five attempts, and this one.
        with pytest.raises(Unavailable):
            await say(made, key="b", failures=9)
        assert len((await say(made, key="a", failures=5))["attempts"]) == 6


async def test_without_a_policy_a_call_is_made_once(peer: Peer) -> None:
    async with channel(peer.target) as made:
        with pytest.raises(Unavailable):
            await say(made, key="a", failures=1)
        assert len((await say(made, key="a", failures=1))["attempts"]) == 2


async def test_a_call_that_is_declared_idempotent_needs_no_policy(peer: Peer) -> None:
    pure = Rpc(SAY.path, idempotent=True)
    request = StringValue(value=json.dumps({"key": "a", "failures": 2}))
    async with channel(peer.target) as made:
        answer = await made.unary(pure, request, CALL)
    async with channel(peer.target, retry=None) as made:
        with pytest.raises(Unavailable):
            await made.unary(pure, StringValue(value=json.dumps({"key": "b", "failures": 1})), CALL)
    assert isinstance(answer, StringValue)
    assert len(json.loads(answer.value)["attempts"]) == 3


async def test_a_status_that_is_not_of_the_policy_is_not_retried(peer: Peer) -> None:
    async with channel(peer.target, retry=RETRY) as made:
        with pytest.raises(Aborted):
            await say(made, key="a", failures=1, status="ABORTED")
        assert len((await say(made, key="a"))["attempts"]) == 2


async def test_a_service_config_says_which_calls_are_retried(peer: Peer) -> None:
    config = ServiceConfig(policies={"test.Echo/Say": RETRY})
    async with channel(peer.target, retry=config) as made:
        assert len((await say(made, key="a", failures=2))["attempts"]) == 3
        with pytest.raises(Unavailable):
            await repeat(made, [], key="b", failures=2)


async def test_a_server_says_when_a_call_is_made_again(peer: Peer) -> None:
    slow = RetryPolicy(initial_backoff=600, max_backoff=600, throttling=None)
    async with channel(peer.target, retry=slow) as made:
        # Sooner than the policy has it.
        found = await say(made, key="a", failures=1, pushback="1")
        assert len(found["attempts"]) == 2
        with pytest.raises(Unavailable):
            await say(made, key="b", failures=1, pushback="-1")


async def test_retries_end_with_their_budget(peer: Peer) -> None:
    budget = RetryPolicy(
        initial_backoff=0.001, throttling=RetryThrottling(max_tokens=4, token_ratio=1)
    )
    async with channel(peer.target, retry=budget) as made:
        with pytest.raises(Unavailable):
            await say(made, key="a", failures=2)
        assert len((await say(made, key="a"))["attempts"]) == 3


async def test_all_attempts_have_one_deadline(peer: Peer) -> None:
    slow = RetryPolicy(initial_backoff=60, max_backoff=60, throttling=None)
    async with channel(peer.target, retry=slow) as made:
        started = time.monotonic()
        # Another attempt would begin after the deadline: the failure is told at once.
        with pytest.raises(Unavailable, match="as it was asked"):
            await say(made, CallOptions(timeout=40), key="a", failures=1)
        assert time.monotonic() - started < 30


async def test_a_stream_is_made_again_until_it_has_begun(peer: Peer) -> None:
    async with channel(peer.target, retry=RETRY) as made:
        heard: list[str] = []
        await repeat(made, heard, key="a", failures=2)
        assert [len(json.loads(text)["attempts"]) for text in heard] == [3]
        heard.clear()
        with pytest.raises(Unavailable, match="as it was asked"):
            await repeat(made, heard, key="b", failures=2, begin=True)
        assert heard == ["begun"]
