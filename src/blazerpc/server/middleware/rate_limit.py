"""How often each caller may call."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import Final

from grpclib.events import RecvRequest

from blazerpc.exceptions import ConfigurationError, OverloadedError
from blazerpc.server.calls import Call, current_call
from blazerpc.server.middleware.base import Middleware
from blazerpc.server.middleware.paths import HEALTH, Paths

#: Of IPv6, what one subscriber has at least: RFC 6177, section 2.
_SUBSCRIBER: Final = 64


class TokenBucket:
    """Tokens that come at a rate, up to a burst; each call takes one.

    Args:
        rate: tokens a second.
        burst: tokens that it holds, and begins with.
        now: in seconds, of a clock that never goes back.
    """

    __slots__ = ("_burst", "_rate", "_time", "_tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._time = float(burst), now

    def take(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        gained = (now - self._time) * self._rate
        self._tokens, self._time = min(float(self._burst), self._tokens + gained), now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


class RateLimitMiddleware(Middleware):
    """Refuses the calls of who calls too often, with RESOURCE_EXHAUSTED and when to come back.

    Callers are told apart by their principal, where a middleware before this one has found out who
    they are, else by their address (of IPv6, its first 64 bits). Each process counts for itself.

    Args:
        rate: calls a second that a caller may make in the long run.
        burst: calls that it may make at once; None for those of one second, at least one.
        key: tells callers apart in another way.
        max_callers: that are remembered; who has not called for longest is forgotten first, and
            may call as if for the first time.
        public: what is not counted: paths of rpcs, or of services, as ``/package.Service/``.

    Raises:
        ConfigurationError: naming the option and its bound.
    """

    def __init__(
        self,
        rate: float,
        burst: int | None = None,
        *,
        key: Callable[[Call], str] | None = None,
        max_callers: int = 10_000,
        public: Collection[str] = HEALTH,
    ) -> None:
        if not 0 < rate < math.inf:
            raise ConfigurationError(f"rate is {rate!r}; it must be above 0")
        self._rate = rate
        self._burst = max(1, math.ceil(rate)) if burst is None else burst
        for name, value in (("burst", self._burst), ("max_callers", max_callers)):
            if value < 1:
                raise ConfigurationError(f"{name} is {value!r}; it must be at least 1")
        self._key: Callable[[Call], object] = key or _caller
        self._max_callers = max_callers
        self._public = Paths(public)
        self._buckets: OrderedDict[object, TokenBucket] = OrderedDict()

    async def on_request(self, event: RecvRequest) -> None:
        call = current_call()
        if call is None or event.method_name in self._public:
            return
        wait = self._bucket(self._key(call)).take(time.monotonic())
        if wait:
            text = f"too many calls: {self._rate:g} a second, and {self._burst} at once"
            raise OverloadedError(text, retry_after=wait)

    def _bucket(self, caller: object) -> TokenBucket:
        bucket = self._buckets.get(caller)
        if bucket is None:
            if len(self._buckets) >= self._max_callers:
                self._buckets.popitem(last=False)
            bucket = TokenBucket(self._rate, self._burst, time.monotonic())
            self._buckets[caller] = bucket
        else:
            self._buckets.move_to_end(caller)
        return bucket


def _caller(call: Call) -> object:
    if call.principal is not None:
        return "principal", call.principal
    host = call.address.rpartition(":")[0]
    if ":" not in host:
        return "address", host
    network = ipaddress.IPv6Network((host.partition("%")[0], _SUBSCRIBER), strict=False)
    return "address", str(network)
