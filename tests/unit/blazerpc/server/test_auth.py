from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_pb2 import HealthCheckResponse

from blazerpc import BlazeApp, BlazeClient, ConfigurationError, Context, ServeOptions
from blazerpc.server import (
    AuthMiddleware,
    Caller,
    LoggingMiddleware,
    Middleware,
    api_key,
    bearer_token,
)
from blazerpc.server.middleware.auth import Decide
from blazerpc_client import Internal, PermissionDenied, RpcError, Unauthenticated
from blazerpc_client.transport.choice import Http
from tests.unit.blazerpc.support import Running, running, serving, unary

TOKEN = "correct-horse-battery-staple"


def make_app(*middleware: Middleware) -> BlazeApp:
    app = BlazeApp(middleware=middleware)

    @app.model("whoami")
    def whoami(ctx: Context, greeting: str = "") -> str:
        return f"{greeting}{ctx.principal}"

    return app


async def ask(decide: Decide, **metadata: str | bytes) -> object:
    """Call with metadata whose keys have underscores for dashes."""
    app = make_app(AuthMiddleware(decide))
    sent = {key.replace("_", "-"): value for key, value in metadata.items()}
    async with serving(app) as run, BlazeClient("127.0.0.1", run.port, app.registry) as client:
        return await client.with_options(metadata=sent).predict("whoami")


async def refused(decide: Decide, **metadata: str | bytes) -> RpcError:
    with pytest.raises(RpcError) as caught:
        await ask(decide, **metadata)
    return caught.value


def nobody(caller: Caller) -> str | None:
    return None


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_the_principal_reaches_the_model_and_the_log(
    caplog: pytest.LogCaptureFixture, http: Http
) -> None:
    caplog.set_level(logging.INFO)
    app = make_app(LoggingMiddleware(), AuthMiddleware(bearer_token({TOKEN: "alice"})))
    async with (
        serving(app, http=http) as run,
        BlazeClient("127.0.0.1", run.port, app.registry) as client,
    ):
        named = client.with_options(metadata={"authorization": f"Bearer {TOKEN}"})
        assert await named.predict("whoami") == "alice"
        with pytest.raises(Unauthenticated, match="the call has no valid credentials"):
            await client.predict("whoami")
    first, second = (r.getMessage() for r in caplog.records if r.name == "blazerpc.access")
    assert " OK " in first
    assert "principal=alice" in first
    assert " UNAUTHENTICATED " in second
    assert "principal" not in second
    assert TOKEN not in caplog.text


async def test_without_the_middleware_there_is_no_principal() -> None:
    app = make_app()
    async with serving(app) as run, BlazeClient("127.0.0.1", run.port, app.registry) as client:
        assert await client.predict("whoami") == "None"


async def test_one_call_does_not_know_who_made_another() -> None:
    app = make_app(AuthMiddleware(api_key({"a": "alice", "b": "bob"})))
    async with serving(app) as run, BlazeClient("127.0.0.1", run.port, app.registry) as client:
        keys = ["a", "b"] * 20
        callers = [client.with_options(metadata={"x-api-key": key}) for key in keys]
        answers = await asyncio.gather(*(each.predict("whoami") for each in callers))
    assert answers == ["alice", "bob"] * 20


async def test_a_decision_may_be_waited_for() -> None:
    async def decide(caller: Caller) -> str | None:
        await asyncio.sleep(0)
        return "carol" if caller.metadata.get("x-team") == "c" else None

    assert await ask(decide, x_team="c") == "carol"
    assert isinstance(await refused(decide, x_team="d"), Unauthenticated)


async def test_a_decision_sees_method_and_peer() -> None:
    seen: list[Caller] = []

    def decide(caller: Caller) -> str | None:
        seen.append(caller)
        return "x"

    await ask(decide, authorization=TOKEN)
    (caller,) = seen
    assert caller.method == "/blazerpc.InferenceService/PredictWhoami"
    assert (caller.peer.addr() or ("",))[0] == "127.0.0.1"
    assert caller.certificate is None
    assert caller.common_name is None
    assert TOKEN not in repr(caller)


async def test_a_decision_may_say_that_it_is_forbidden() -> None:
    def decide(caller: Caller) -> str | None:
        raise GRPCError(Status.PERMISSION_DENIED, "not you")

    error = await refused(decide)
    assert isinstance(error, PermissionDenied)
    assert error.message == "not you"


def raises_ok(caller: Caller) -> str | None:
    raise GRPCError(Status.OK)


def is_empty(caller: Caller) -> str | None:
    return ""


def is_none_of_text(caller: Caller) -> Any:
    return True


@pytest.mark.parametrize("decide", [nobody, raises_ok, is_empty, is_none_of_text])
async def test_what_names_nobody_lets_nobody_in(decide: Decide) -> None:
    assert isinstance(await refused(decide), Unauthenticated)


async def test_a_decision_that_fails_refuses_and_shows_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    principals: dict[str | bytes, str] = {}

    def decide(caller: Caller) -> str | None:
        return principals[caller.metadata["authorization"]]

    error = await refused(decide, authorization=f"Bearer {TOKEN}")
    assert isinstance(error, Internal)
    assert error.message.startswith("authentication failed; error id ")
    assert error.message.split()[-1] in caplog.text
    assert "KeyError" in caplog.text
    assert "in decide" in caplog.text
    assert TOKEN not in caplog.text + repr(error)
    assert all(TOKEN not in repr(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN} {TOKEN}"},
        {"x_api_key": TOKEN},
    ],
)
async def test_no_other_token_is_taken(sent: dict[str, str]) -> None:
    assert isinstance(await refused(bearer_token({TOKEN: "alice"}), **sent), Unauthenticated)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_of_any_case(scheme: str) -> None:
    decide = bearer_token({"another": "bob", TOKEN: "alice"})
    assert await ask(decide, authorization=f"{scheme} {TOKEN}") == "alice"


async def test_a_key_is_in_the_metadata_of_its_name() -> None:
    assert await ask(api_key({"k1": "a", "k2": "b"}), x_api_key="k2") == "b"
    assert await ask(api_key({"k1": "a"}, header="X-Key"), x_key="k1") == "a"
    assert isinstance(await refused(api_key({"k1": "a"}), x_api_key="k2"), Unauthenticated)


async def call_with(run: Running, pairs: Sequence[tuple[str, str]]) -> None:
    path = "/blazerpc.InferenceService/PredictWhoami"
    async with run.channel.request(
        path, Cardinality.UNARY_UNARY, bytes, bytes, metadata=pairs
    ) as stream:
        await stream.send_message(b"", end=True)
        await stream.recv_message()


async def test_a_key_that_came_twice_is_nobodys() -> None:
    async with serving(make_app(AuthMiddleware(api_key({"k1": "a", "k2": "b"})))) as run:
        await call_with(run, [("x-api-key", "k1")])
        with pytest.raises(GRPCError) as caught:
            await call_with(run, [("x-api-key", "k1"), ("x-api-key", "k2")])
    assert caught.value.status is Status.UNAUTHENTICATED


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_health_stays_open_and_nothing_else(http: Http) -> None:
    app = make_app(AuthMiddleware(nobody))
    async with serving(app, http=http) as run:
        answer = await unary(run.channel, "/grpc.health.v1.Health/Check", b"")
        assert HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING
        for path in (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.health.v1.Health",
            "/grpc.health.v1.HealthX/Check",
            "/nothing/Nothing",
        ):
            with pytest.raises(GRPCError) as caught:
                await unary(run.channel, path, b"")
            assert caught.value.status is Status.UNAUTHENTICATED, path


async def test_what_is_public_can_be_chosen() -> None:
    app = make_app(AuthMiddleware(nobody, public=["/blazerpc.InferenceService/PredictWhoami"]))
    async with serving(app) as run:
        await run.call("Whoami", b"")
        with pytest.raises(GRPCError) as caught:
            await unary(run.channel, "/grpc.health.v1.Health/Check", b"")
    assert caught.value.status is Status.UNAUTHENTICATED


@pytest.mark.parametrize("path", ["", "/", "//", "grpc.health.v1.Health/", "/a.B", "/a.B/C/D"])
def test_a_path_that_could_open_too_much_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no /package\.Service/"):
        AuthMiddleware(nobody, public=[path])


@pytest.mark.parametrize("make", [bearer_token, api_key])
@pytest.mark.parametrize(
    "secrets", [{}, {"": "a"}, {" x": "a"}, {"hunter2\n": "a"}, {"hünter2": "a"}, {"hunter2": ""}]
)
def test_secrets_that_cannot_be_are_refused_and_not_shown(
    make: Any, secrets: dict[str, str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make(secrets)
    assert "nter2" not in str(caught.value)


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_reflection_can_be_closed(http: Http) -> None:
    app = make_app()
    options = ServeOptions(port=0, http=http, reflection=False)
    async with running(app.server(options)) as run:
        await run.call("Whoami", b"")
        for version in "v1", "v1alpha":
            path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
            with pytest.raises(GRPCError) as caught:
                await unary(run.channel, path, b"")
            assert caught.value.status is Status.UNIMPLEMENTED
