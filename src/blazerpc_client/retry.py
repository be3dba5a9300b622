"""When a call that failed is made again, in the shape of gRPC's service config.

https://github.com/grpc/proposal/blob/master/A6-client-retries.md
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from grpclib.const import Status
from grpclib.metadata import Deadline

from blazerpc_client.backoff import Backoff, check_number
from blazerpc_client.errors import RpcError
from blazerpc_client.metadata import PUSHBACK
from blazerpc_client.transport.stream import UnprocessedError

#: How often a call is sent again that its server has done nothing of: gRPC's transparent retry.
TRANSPARENT: Final = 2

_FAILURES: Final = frozenset(Status) - {Status.OK}

#: A JSON form of google.protobuf.Duration.
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryThrottling:
    """A budget for the retries of a client, so that they are no load on servers that fail.

    It has tokens. A call that fails takes one, a call that succeeds gives a part of one back, and
    nothing is retried while half of them are gone, or more.

    Attributes:
        max_tokens: of the budget.
        token_ratio: what a call that succeeds gives back.

    Raises:
        ValueError: naming the option and its bounds.
    """

    max_tokens: float = 100
    token_ratio: float = 0.1

    def __post_init__(self) -> None:
        check_number("max_tokens", self.max_tokens, 1, 1000)
        check_number("token_ratio", self.token_ratio, 0.001, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a call that failed is made again; times are seconds.

    It is for calls that may run twice: a server may have run one whose answer was lost.

    Attributes:
        max_attempts: of a call, the first one included.
        initial_backoff: before the second attempt, longer or shorter by a fifth at random.
        max_backoff: before any.
        backoff_multiplier: of the wait, for each further attempt.
        retryable_codes: statuses after which there is another attempt.
        throttling: of all calls of the client together; None sets no budget.

    Raises:
        ValueError: naming the option and its bounds.
    """

    max_attempts: int = 4
    initial_backoff: float = 0.1
    max_backoff: float = 5.0
    backoff_multiplier: float = 2.0
    retryable_codes: Collection[Status] = frozenset({Status.UNAVAILABLE})
    throttling: RetryThrottling | None = field(default_factory=RetryThrottling)

    def __post_init__(self) -> None:
        check_number("max_attempts", self.max_attempts, 2, 5)
        check_number("initial_backoff", self.initial_backoff, 0.001, 3600)
        check_number("max_backoff", self.max_backoff, 0.001, 3600)
        check_number("backoff_multiplier", self.backoff_multiplier, 1, 100)
        codes = frozenset(self.retryable_codes)
        if not codes or not codes <= _FAILURES:
            raise ValueError(
                f"retryable_codes is {self.retryable_codes!r}; "
                "it must be of grpclib's Status, without OK"
            )
        object.__setattr__(self, "retryable_codes", codes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """The retry policies of a gRPC service config.

    Attributes:
        policies: by ``service/Method``; ``service/`` is all of a service's, ``/`` all there are.
        throttling: of all calls together, in place of the policies' own; None sets no budget.
    """

    policies: Mapping[str, RetryPolicy]
    throttling: RetryThrottling | None = None

    @classmethod
    def from_json(cls, config: Mapping[str, object]) -> ServiceConfig:
        """Read a service config, as ``json.loads`` gives it; what is not of retries is left out.

        https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto

        Raises:
            ValueError: naming what is not as it must be.
        """
        policies: dict[str, RetryPolicy] = {}
        for method in _list(config, "methodConfig"):
            policy = method.get("retryPolicy")
            if policy is not None:
                read = _policy(_mapping(policy, "retryPolicy"))
                for name in _list(method, "name"):
                    path = f"{name.get('service', '')}/{name.get('method', '')}"
                    policies[path] = read
        throttling = config.get("retryThrottling")
        return cls(
            policies=policies,
            throttling=None if throttling is None else _throttling(throttling),
        )


#: When calls that failed are made again: ``"idempotent"`` is a ``RetryPolicy()`` for the methods
#: whose schema says that they may run twice, and None only what no server has begun.
Retry: TypeAlias = RetryPolicy | ServiceConfig | Literal["idempotent"] | None


class Budget:
    """The tokens of a client's retries.

    Args:
        throttling: None for a budget without an end.
    """

    def __init__(self, throttling: RetryThrottling | None) -> None:
        self._throttling = throttling
        self._tokens = 0.0 if throttling is None else float(throttling.max_tokens)

    def failed(self) -> bool:
        """Count a call that failed; return whether it may be made again."""
        if self._throttling is None:
            return True
        self._tokens = max(0.0, self._tokens - 1)
        return self._tokens > self._throttling.max_tokens / 2

    def succeeded(self) -> None:
        """Count a call that was answered."""
        if self._throttling is not None:
            gained = self._tokens + self._throttling.token_ratio
            self._tokens = min(self._throttling.max_tokens, gained)


class Retries:
    """The retries of a client.

    Args:
        retry: a policy for all methods, one for each, or which have one.
    """

    def __init__(self, retry: Retry) -> None:
        self._only_idempotent = retry == "idempotent"
        chosen = RetryPolicy() if retry == "idempotent" else retry
        self._policies: Mapping[str, RetryPolicy] = {}
        if isinstance(chosen, RetryPolicy):
            self._policies = {"/": chosen}
        elif chosen is not None:
            self._policies = chosen.policies
        self._budget = Budget(None if chosen is None else chosen.throttling)
        self._of_paths: dict[str, RetryPolicy | None] = {}

    def of(self, path: str, *, idempotent: bool) -> Attempts:
        """Return the attempts of one call of ``/package.Service/Method``."""
        if path not in self._of_paths:  # the same for all calls of a method
            self._of_paths[path] = self._chosen(path, idempotent)
        return Attempts(self._of_paths[path], self._budget)

    def _chosen(self, path: str, idempotent: bool) -> RetryPolicy | None:
        if self._only_idempotent and not idempotent:
            return None
        name = path.removeprefix("/")
        keys = (name, f"{name.partition('/')[0]}/", "/")
        return next((self._policies[key] for key in keys if key in self._policies), None)


class Attempts:
    """The attempts of one call.

    Args:
        policy: when there is another; None for transparent retries alone.
        budget: of the client.

    Attributes:
        failed: how many have failed, but for those that no server has seen.
    """

    # One is made for each call.
    __slots__ = ("_budget", "_policy", "_unprocessed", "_waits", "failed")

    def __init__(self, policy: RetryPolicy | None, budget: Budget) -> None:
        self.failed: int = 0
        self._policy = policy
        self._budget = budget
        self._unprocessed = 0
        self._waits = 0  # since the start, or since the server said when to come back

    def succeeded(self) -> None:
        """Count the call as answered."""
        self._budget.succeeded()

    def wait_after(
        self, error: RpcError, *, answered: bool, deadline: Deadline | None = None
    ) -> float | None:
        """Count an attempt that failed.

        Args:
            error: that it ended with.
            answered: whether the server had begun to answer: then there is no other attempt.
            deadline: of the call: there is none that would begin after it.

        Returns:
            The seconds until the next attempt; None when there is none.
        """
        if isinstance(error.__cause__, UnprocessedError):
            self._unprocessed += 1
            if self._unprocessed <= TRANSPARENT:
                return 0.0
        wait = None if self._policy is None else self._wait(self._policy, error, answered)
        late = wait is not None and deadline is not None and wait >= deadline.time_remaining()
        return None if late else wait

    def _wait(self, policy: RetryPolicy, error: RpcError, answered: bool) -> float | None:
        pushback = error.trailing_metadata.get(PUSHBACK)
        wait = None if pushback is None else _pushback(pushback)
        refused = pushback is not None and wait is None
        retryable = error.status in policy.retryable_codes
        if not (retryable or refused):
            return None
        allowed = self._budget.failed()
        self.failed += 1
        if answered or refused or not allowed or self.failed >= policy.max_attempts:
            return None
        self._waits = self._waits + 1 if wait is None else 0
        return _backoff(policy).wait(self._waits) if wait is None else wait


def _backoff(policy: RetryPolicy) -> Backoff:
    return Backoff(
        initial=policy.initial_backoff,
        multiplier=policy.backoff_multiplier,
        maximum=policy.max_backoff,
    )


def _pushback(value: str | bytes) -> float | None:
    """Return the seconds that a server asks for; None when it wants no other attempt."""
    known = isinstance(value, str) and re.fullmatch("[0-9]{1,7}", value)
    return int(value) / 1000 if known else None


def _policy(given: Mapping[str, object]) -> RetryPolicy:
    codes = given.get("retryableStatusCodes")
    if not isinstance(codes, list):
        raise ValueError("retryableStatusCodes must be a list of statuses")
    attempts = given.get("maxAttempts")
    if not isinstance(attempts, int):
        raise ValueError(f"maxAttempts is {attempts!r}; it must be a number of at least 2")
    return RetryPolicy(
        max_attempts=min(attempts, 5),  # as every gRPC client does
        initial_backoff=_seconds(given, "initialBackoff"),
        max_backoff=_seconds(given, "maxBackoff"),
        backoff_multiplier=_number(given, "backoffMultiplier"),
        retryable_codes=[_status(code) for code in codes],
    )


def _throttling(given: object) -> RetryThrottling:
    mapping = _mapping(given, "retryThrottling")
    return RetryThrottling(
        max_tokens=_number(mapping, "maxTokens"), token_ratio=_number(mapping, "tokenRatio")
    )


def _status(code: object) -> Status:
    try:
        return Status[code] if isinstance(code, str) else Status(code)
    except (KeyError, ValueError):
        raise ValueError(f"retryableStatusCodes has {code!r}, which is no status") from None


def _seconds(given: Mapping[str, object], key: str) -> float:
    value = given.get(key)
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{key} is {value!r}; it must be seconds, like '0.1s'")
    return float(found[1])


def _number(given: Mapping[str, object], key: str) -> float:
    value = given.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} is {value!r}; it must be a number")
    return value


def _mapping(given: object, key: str) -> Mapping[str, object]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{key} must be an object")
    return given


def _list(given: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    values = given.get(key, [])
    if not isinstance(values, list):
        raise ValueError(f"{key} must be a list of objects")
    return [_mapping(value, key) for value in values]
