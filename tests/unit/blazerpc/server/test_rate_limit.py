from __future__ import annotations

import asyncio
import itertools
import math

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from grpclib.const import Status

from blazerpc import BlazeApp, BlazeClient, ConfigurationError
from blazerpc.server import (
    AuthMiddleware,
    Call,
    LoggingMiddleware,
    Middleware,
    RateLimitMiddleware,
    api_key,
)
from blazerpc.server.middleware.rate_limit import TokenBucket, _caller
from blazerpc_client import ResourceExhausted
from blazerpc_client.transport.choice import Http
from tests.unit.blazerpc.support import Running, serving, unary

#: So slow that no test lasts until the next token.
SLOW = 1e-6


def make_app(*middleware: Middleware) -> BlazeApp:
    app = BlazeApp(middleware=middleware)

    @app.model("echo")
    def echo(text: str) -> str:
        return text

    return app


def test_a_bucket_begins_full_and_fills_at_its_rate() -> None:
    bucket = TokenBucket(2.0, 3, now=10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(10.25) == 0.25
    assert bucket.take(10.5) == 0
    assert bucket.take(10.5) == 0.5
    assert [bucket.take(1000.0) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_bucket_gives_no_more_than_its_rate_in_the_long_run() -> None:
    bucket = TokenBucket(5.0, 2, now=0.0)
    taken = sum(not bucket.take(tick / 100) for tick in range(10_001))
    assert abs(taken - (2 + 5 * 100)) <= 1


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_who_calls_too_often_is_told_when_to_come_back(http: Http) -> None:
    async with serving(make_app(RateLimitMiddleware(0.5, 3)), http=http) as run:
        for _ in range(3):
            assert (await run.answer("Echo")).status is Status.OK
        answer = await run.answer("Echo")
    assert answer.error is not None
    assert answer.status is Status.RESOURCE_EXHAUSTED
    assert answer.error.message == "too many calls: 0.5 a second, and 3 at once"
    info = next(iter(answer.error.details or ()))
    assert isinstance(info, RetryInfo)
    assert 0 < info.retry_delay.ToMilliseconds() <= 2000


@pytest.mark.parametrize("served", ["blaze", "h2"])
async def test_clients_see_the_pushback(served: Http) -> None:
    app = make_app(RateLimitMiddleware(0.5, 1))
    async with (
        serving(app, http=served) as run,
        BlazeClient("127.0.0.1", run.port, app.registry) as client,
    ):
        await client.predict("echo", text="a")
        with pytest.raises(ResourceExhausted) as caught:
            await client.predict("echo", text="a")
    assert 0 < int(caught.value.trailing_metadata["grpc-retry-pushback-ms"]) <= 2000


async def test_it_lets_calls_in_again() -> None:
    async with serving(make_app(RateLimitMiddleware(1000.0, 1))) as run:
        async with asyncio.timeout(30):
            for _ in range(3):
                while (await run.answer("Echo")).status is not Status.OK:
                    pass


async def refusals(run: Running, *keys: str) -> list[bool]:
    """Call once for each key; tell which calls were refused."""
    answers = [await run.answer("Echo", metadata={"x-api-key": key}) for key in keys]
    return [answer.status is Status.RESOURCE_EXHAUSTED for answer in answers]


async def test_each_principal_has_a_bucket_of_its_own() -> None:
    auth = AuthMiddleware(api_key({"a1": "a", "a2": "a", "b": "b"}))
    async with serving(make_app(auth, RateLimitMiddleware(SLOW, 2))) as run:
        assert await refusals(run, "a1", "a2", "a1", "b", "b", "b", "a2") == [
            *(False, False, True),
            *(False, False, True),
            True,
        ]


async def test_without_principals_an_address_has_one_whatever_its_connections() -> None:
    app = make_app(RateLimitMiddleware(SLOW, 2))
    async with serving(app) as run:
        for refused in False, False, True:
            async with BlazeClient("127.0.0.1", run.port, app.registry) as client:
                if refused:
                    with pytest.raises(ResourceExhausted):
                        await client.predict("echo", text="a")
                else:
                    await client.predict("echo", text="a")


async def test_callers_can_be_told_apart_in_another_way() -> None:
    def key(call: Call) -> str:
        return str(call.metadata.get("x-api-key"))

    async with serving(make_app(RateLimitMiddleware(SLOW, 1, key=key))) as run:
        assert await refusals(run, "x", "y", "x") == [False, False, True]


async def test_no_more_callers_are_remembered_than_there_may_be() -> None:
    limit = RateLimitMiddleware(
        SLOW, 1, key=lambda call: str(call.metadata.get("x-api-key")), max_callers=2
    )
    async with serving(make_app(limit)) as run:
        assert await refusals(run, "x", "y", "x", "z") == [False, False, True, False]
        assert len(limit._buckets) == 2
        # y had not called for longest: x is still remembered.
        assert await refusals(run, "x", "y") == [True, False]
        await refusals(run, *(str(number) for number in range(20)))
        assert len(limit._buckets) == 2


async def test_health_is_not_counted() -> None:
    async with serving(make_app(RateLimitMiddleware(SLOW, 1))) as run:
        await run.call("Echo", b"")
        for _ in range(5):
            await unary(run.channel, "/grpc.health.v1.Health/Check", b"")
        assert (await run.failure("Echo")).status is Status.RESOURCE_EXHAUSTED


async def test_rpcs_that_there_are_not_are_counted() -> None:
    async with serving(make_app(RateLimitMiddleware(SLOW, 1))) as run:
        assert (await run.failure("Nothing")).status is Status.UNIMPLEMENTED
        assert (await run.failure("Nothing")).status is Status.RESOURCE_EXHAUSTED


class After(Middleware):
    """Counts what it is asked of, and how calls end."""

    def __init__(self) -> None:
        self.asked = 0
        self.ended: list[Status | None] = []

    async def on_request(self, event: object) -> None:
        self.asked += 1

    def on_finish(self, call: Call) -> None:
        self.ended.append(call.status)


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_a_refused_call_is_asked_of_nobody_else_and_finished_for_all(http: Http) -> None:
    after = After()
    async with serving(
        make_app(LoggingMiddleware(), RateLimitMiddleware(SLOW, 1), after), http=http
    ) as run:
        await run.call("Echo", b"")
        await run.failure("Echo")
    assert after.asked == 1
    assert after.ended == [Status.OK, Status.RESOURCE_EXHAUSTED]


def call_of(address: str, principal: str | None = None) -> Call:
    """Return a call as far as it is looked at."""
    call = Call.__new__(Call)
    call.address, call.principal = address, principal
    return call


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("127.0.0.1:1", "127.0.0.1:2", True),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("2001:db8:1:2::1:50", "2001:db8:1:2:ffff::9:50", True),
        ("2001:db8:1:2::1:50", "2001:db8:1:3::1:50", False),
        ("fe80::1%eth0:50", "fe80::2%eth0:51", True),
        ("unknown", "unknown", True),
    ],
)
def test_addresses_of_one_subscriber_are_one_caller(one: str, other: str, same: bool) -> None:
    assert (_caller(call_of(one)) == _caller(call_of(other))) is same


def test_a_principal_cannot_be_taken_for_an_address() -> None:
    assert _caller(call_of("1.2.3.4:5")) != _caller(call_of("9.9.9.9:1", principal="1.2.3.4"))


BAD = [0, -1, math.inf, math.nan]


@pytest.mark.parametrize(
    ("rate", "burst", "callers", "name"),
    [
        *zip(BAD, itertools.repeat(1), itertools.repeat(1), itertools.repeat("rate")),
        (1, 0, 1, "burst"),
        (1, 1, 0, "max_callers"),
    ],
)
def test_options_that_cannot_be(rate: float, burst: int, callers: int, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} is "):
        RateLimitMiddleware(rate, burst, max_callers=callers)
