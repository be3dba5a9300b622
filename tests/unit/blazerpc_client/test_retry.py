from __future__ import annotations

import json
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.metadata import Deadline

from blazerpc_client import (
    Aborted,
    Internal,
    ReceivedMetadata,
    RetryPolicy,
    RetryThrottling,
    RpcError,
    ServiceConfig,
    Unavailable,
)
from blazerpc_client.retry import Attempts, Retries
from blazerpc_client.transport.stream import UnprocessedError

CONFIG = """{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [
    {
      "name": [{"service": "a.A", "method": "One"}, {"service": "a.B"}],
      "timeout": "5s",
      "retryPolicy": {
        "maxAttempts": 9,
        "initialBackoff": "0.25s",
        "maxBackoff": "1s",
        "backoffMultiplier": 3,
        "retryableStatusCodes": ["UNAVAILABLE", 10]
      }
    },
    {"name": [{"service": "a.C"}], "waitForReady": true}
  ],
  "retryThrottling": {"maxTokens": 4, "tokenRatio": 0.5}
}"""

FREE = RetryPolicy(throttling=None)


def of(policy: RetryPolicy) -> Attempts:
    return Retries(policy).of("/a.A/One", idempotent=False)


def failure(pushback: str | bytes | None = None, kind: type[RpcError] = Unavailable) -> RpcError:
    error = kind("no")
    if pushback is not None:
        error.trailing_metadata = ReceivedMetadata([("grpc-retry-pushback-ms", pushback)])
    return error


def waits(attempts: Attempts, *errors: RpcError) -> list[float | None]:
    return [attempts.wait_after(error, answered=False) for error in errors]


def test_waits_grow_until_the_attempts_are_used_up() -> None:
    policy = RetryPolicy(
        max_attempts=5, initial_backoff=1, max_backoff=3, backoff_multiplier=2, throttling=None
    )
    found = waits(of(policy), *[failure()] * 5)
    for wait, mean in zip(found, [1, 2, 3, 3], strict=False):
        assert wait is not None
        assert 0.8 * mean <= wait <= 1.2 * mean
    assert found[4] is None


def test_only_the_statuses_of_the_policy_are_retried() -> None:
    policy = RetryPolicy(retryable_codes=[Status.ABORTED], throttling=None)
    assert waits(of(policy), failure()) == [None]
    assert waits(of(policy), failure(kind=Aborted)) != [None]


def test_nothing_is_retried_that_a_server_has_begun_to_answer() -> None:
    assert of(FREE).wait_after(failure(), answered=True) is None


def test_a_server_says_when_to_come_back() -> None:
    attempts = of(FREE)
    assert waits(attempts, failure("0"), failure("1500")) == [0, 1.5]
    # The wait begins anew after that.
    (wait,) = waits(attempts, failure())
    assert wait is None or wait <= 0.12


@pytest.mark.parametrize("pushback", ["-1", "", "soon", "1.5", "99999999", b"5"])
def test_a_server_says_not_to_come_back(pushback: str | bytes) -> None:
    assert waits(of(FREE), failure(pushback)) == [None]


def test_retries_end_when_half_of_the_budget_is_gone() -> None:
    retries = Retries(RetryPolicy(throttling=RetryThrottling(max_tokens=4, token_ratio=0.5)))
    assert waits(retries.of("/a.A/One", idempotent=False), failure()) != [None]
    # The budget is that of all methods together.
    assert waits(retries.of("/a.A/Two", idempotent=False), failure()) == [None]
    retries.of("/a.A/One", idempotent=False).succeeded()
    assert waits(retries.of("/a.A/One", idempotent=False), failure()) == [None]
    for _ in range(4):
        retries.of("/a.A/One", idempotent=False).succeeded()
    assert waits(retries.of("/a.A/One", idempotent=False), failure()) != [None]


def test_a_failure_that_is_not_retried_costs_nothing_unless_the_server_refuses_retries() -> None:
    retries = Retries(RetryPolicy(throttling=RetryThrottling(max_tokens=4, token_ratio=0.5)))
    assert (
        waits(retries.of("/a.A/One", idempotent=False), *[failure(kind=Internal)] * 9) == [None] * 9
    )
    assert waits(retries.of("/a.A/One", idempotent=False), failure()) != [None]
    assert waits(retries.of("/a.A/One", idempotent=False), failure("-1", Internal)) == [None]
    assert waits(retries.of("/a.A/One", idempotent=False), failure()) == [None]


def test_without_a_policy_only_what_no_server_has_begun_is_made_again() -> None:
    attempts = Retries(None).of("/a.A/One", idempotent=True)
    assert waits(attempts, failure()) == [None]
    unprocessed = failure()
    unprocessed.__cause__ = UnprocessedError("refused")
    assert waits(attempts, *[unprocessed] * 3) == [0, 0, None]
    assert attempts.failed == 0


def test_what_is_declared_idempotent_has_a_policy_of_its_own() -> None:
    retries = Retries("idempotent")
    assert waits(retries.of("/a.A/Other", idempotent=False), failure()) == [None]
    wait, *_ = waits(retries.of("/a.A/One", idempotent=True), failure())
    assert wait is not None
    assert 0.08 <= wait <= 0.12


def test_a_policy_is_for_what_is_not_declared_idempotent_too() -> None:
    for idempotent in (False, True):
        attempts = Retries(FREE).of("/a.A/One", idempotent=idempotent)
        assert waits(attempts, failure()) != [None]


def test_an_attempt_that_would_begin_after_the_deadline_is_not_made() -> None:
    policy = RetryPolicy(initial_backoff=10, max_backoff=10, throttling=None)
    for seconds, again in ((5, False), (20, True)):
        wait = of(policy).wait_after(
            failure(), answered=False, deadline=Deadline.from_timeout(seconds)
        )
        assert (wait is not None) is again


def test_a_service_config_is_read() -> None:
    config = ServiceConfig.from_json(json.loads(CONFIG))
    policy = RetryPolicy(
        max_attempts=5,
        initial_backoff=0.25,
        max_backoff=1,
        backoff_multiplier=3,
        retryable_codes=[Status.UNAVAILABLE, Status.ABORTED],
    )
    assert config.policies == {"a.A/One": policy, "a.B/": policy}
    assert config.throttling == RetryThrottling(max_tokens=4, token_ratio=0.5)


def test_a_service_config_has_a_policy_for_each_method() -> None:
    config = ServiceConfig.from_json(json.loads(CONFIG))
    retried = {
        path: waits(Retries(config).of(path, idempotent=True), failure()) != [None]
        for path in ("/a.A/One", "/a.A/Two", "/a.B/One", "/a.C/One")
    }
    assert retried == {"/a.A/One": True, "/a.A/Two": False, "/a.B/One": True, "/a.C/One": False}


def test_an_empty_service_config_retries_nothing() -> None:
    assert ServiceConfig.from_json({}) == ServiceConfig(policies={})


GOOD: dict[str, object] = {
    "maxAttempts": 2,
    "initialBackoff": "1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maxAttempts": 1}, "max_attempts is 1; it must be 2 to 5"),
        ({"maxAttempts": "many"}, "maxAttempts is 'many'"),
        ({"initialBackoff": 1}, "initialBackoff is 1; it must be seconds"),
        ({"initialBackoff": "1m"}, "initialBackoff is '1m'; it must be seconds"),
        ({"maxBackoff": "0s"}, "max_backoff is 0.0"),
        ({"backoffMultiplier": None}, "backoffMultiplier is None; it must be a number"),
        ({"retryableStatusCodes": []}, "retryable_codes is"),
        ({"retryableStatusCodes": ["OK"]}, "retryable_codes is"),
        ({"retryableStatusCodes": ["WRONG"]}, "has 'WRONG', which is no status"),
        ({"retryableStatusCodes": [99]}, "has 99, which is no status"),
        ({"retryableStatusCodes": [None]}, "has None, which is no status"),
        ({"retryableStatusCodes": "UNAVAILABLE"}, "must be a list"),
    ],
)
def test_a_service_config_that_is_wrong_is_refused(change: Any, message: str) -> None:
    policy = {**GOOD, **change}
    with pytest.raises(ValueError, match=message):
        ServiceConfig.from_json({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"methodConfig": {}}, "methodConfig must be a list of objects"),
        ({"methodConfig": [1]}, "methodConfig must be an object"),
        ({"methodConfig": [{"retryPolicy": 1}]}, "retryPolicy must be an object"),
        ({"methodConfig": [{"name": "a", "retryPolicy": GOOD}]}, "name must be a list"),
        ({"retryThrottling": 1}, "retryThrottling must be an object"),
        ({"retryThrottling": {"maxTokens": 1}}, "tokenRatio is None; it must be a number"),
        (
            {"retryThrottling": {"maxTokens": 0, "tokenRatio": 1}},
            "max_tokens is 0; it must be 1 to",
        ),
    ],
)
def test_a_service_config_of_another_form_is_refused(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ServiceConfig.from_json(config)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_attempts", 1),
        ("max_attempts", 6),
        ("initial_backoff", 0),
        ("max_backoff", -1),
        ("backoff_multiplier", 0.5),
        ("retryable_codes", []),
        ("retryable_codes", [14]),
        ("retryable_codes", [Status.OK]),
    ],
)
def test_an_option_out_of_its_bounds_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{option} is "):
        RetryPolicy(**{option: value})
