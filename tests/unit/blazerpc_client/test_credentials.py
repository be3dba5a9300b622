from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from blazerpc import BlazeApp, Context, ServeOptions
from blazerpc.codegen.schema import build_schema
from blazerpc_client import (
    BlazeClient,
    Credentials,
    DeadlineExceeded,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
)
from blazerpc_client.schema import Schema
from blazerpc_client.sync import SyncServiceClient
from blazerpc_client.transport.choice import Http
from tests.authorities import Files
from tests.unit.blazerpc_client.servers import serving

SECRET = "hunter2"
KINDS: tuple[Http, ...] = ("blaze", "h2")


def make_app() -> BlazeApp:
    app = BlazeApp()

    @app.model("sent")
    def sent(ctx: Context, key: str = "authorization") -> str:
        return str(ctx.metadata.get(key))

    return app


def client(
    target: str,
    credentials: Credentials | None,
    http: Http = "blaze",
    schema: Schema | None = None,
) -> BlazeClient:
    return BlazeClient(
        "127.0.0.1",
        int(target.rpartition(":")[2]),
        schema=schema,
        credentials=credentials,
        allow_insecure_credentials=True,
        http=http,
    )


async def answer(credentials: Credentials, http: Http = "blaze") -> object:
    async with serving(make_app()) as target, client(target, credentials, http) as calling:
        return await calling.predict("sent")


@pytest.mark.parametrize("http", KINDS)
async def test_what_is_given_once_goes_with_every_call(http: Http) -> None:
    credentials: Credentials = {"authorization": f"Bearer {SECRET}", "x-key-bin": b"\x00"}
    async with serving(make_app()) as target, client(target, credentials, http) as calling:
        for _ in range(2):
            assert await calling.predict("sent") == f"Bearer {SECRET}"
        assert await calling.predict("sent", key="x-key-bin") == "b'\\x00'"


@pytest.mark.parametrize("http", KINDS)
async def test_metadata_of_a_call_goes_over_it(http: Http) -> None:
    credentials = {"authorization": "general", "x-other": "other"}
    async with serving(make_app()) as target, client(target, credentials, http) as calling:
        special = calling.with_options(metadata={"authorization": "special"})
        assert await special.predict("sent") == "special"
        assert await special.predict("sent", key="x-other") == "other"
        assert await calling.predict("sent") == "general"


@pytest.mark.parametrize("http", KINDS)
async def test_a_function_is_asked_for_each_call(http: Http) -> None:
    numbers = itertools.count(1)

    def credentials() -> Mapping[str, str | bytes]:
        return {"authorization": f"token {next(numbers)}"}

    async def coroutine() -> Mapping[str, str | bytes]:
        await asyncio.sleep(0)
        return credentials()

    given: list[Credentials] = [credentials, coroutine]
    for each in given:
        first = next(numbers)
        async with serving(make_app()) as target, client(target, each, http) as calling:
            # The schema is read first, with credentials as well.
            await calling.predict("sent")
            answers = [await calling.predict("sent") for _ in range(2)]
        now = next(numbers)
        assert answers == [f"token {now - 2}", f"token {now - 1}"]
        assert now - first > 3


def fails() -> Mapping[str, str | bytes]:
    raise LookupError(f"no token like {SECRET}")


def cannot_be_carried() -> Mapping[str, str | bytes]:
    return {"authorization": f"{SECRET}\n"}


def is_none_of_metadata() -> Any:
    return SECRET


@pytest.mark.parametrize("http", KINDS)
@pytest.mark.parametrize("credentials", [fails, cannot_be_carried, is_none_of_metadata])
async def test_a_function_that_fails_fails_the_call_and_shows_nothing(
    credentials: Credentials, http: Http
) -> None:
    with pytest.raises(Unauthenticated, match="the client's credentials cannot be had") as caught:
        await answer(credentials, http)
    assert SECRET not in f"{caught.value!r} {caught.value}"


async def test_a_function_may_say_how_the_call_fails() -> None:
    def credentials() -> Mapping[str, str | bytes]:
        raise PermissionDenied("you have been logged out")

    with pytest.raises(PermissionDenied, match="you have been logged out"):
        await answer(credentials)


@pytest.mark.parametrize("http", KINDS)
async def test_a_function_has_no_longer_than_the_call(http: Http) -> None:
    async def never() -> Mapping[str, str | bytes]:
        await asyncio.Event().wait()
        return {}

    app = make_app()
    schema = build_schema(app.registry)  # which would be read without the call's timeout
    async with serving(app) as target, client(target, never, http, schema) as calling:
        async with asyncio.timeout(20):
            with pytest.raises(DeadlineExceeded):
                await calling.with_options(timeout=0.05).predict("sent")


def test_they_are_not_sent_in_plaintext_unless_that_is_allowed() -> None:
    async def coroutine() -> Mapping[str, str | bytes]:
        return {}

    given: list[Credentials] = [{"authorization": SECRET}, fails, coroutine]
    for credentials in given:
        for host in "127.0.0.1", "localhost", "example.org":
            with pytest.raises(InvalidArgument, match="plaintext") as caught:
                BlazeClient(host, 50051, credentials=credentials)
            assert caught.value.field == "credentials"
            assert SECRET not in str(caught.value)
    with pytest.raises(InvalidArgument, match="plaintext"):
        BlazeClient("localhost", 50051, credentials={"a": "b"}, tls=False)


@pytest.mark.parametrize("http", KINDS)
async def test_with_tls_they_are_sent(tmp_path: Path, http: Http) -> None:
    files = Files(tmp_path)
    server = make_app().server(ServeOptions(port=0, ssl=files.server_tls()))
    await server.listen(port=0)
    waiting = asyncio.create_task(server.wait())
    async with BlazeClient(
        "127.0.0.1",
        server.port,
        tls=files.client_tls(),
        credentials={"authorization": SECRET},
        http=http,
    ) as calling:
        assert await calling.predict("sent") == SECRET
    await server.stop()
    await waiting


@pytest.mark.parametrize("entry", [{"Upper Case": SECRET}, {"a": f"{SECRET}\n"}, {"a-bin": SECRET}])
def test_metadata_that_cannot_be_carried_is_refused_at_once(entry: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="credentials: ") as caught:
        BlazeClient("localhost", 50051, credentials=entry, allow_insecure_credentials=True)
    assert SECRET not in str(caught.value)


def test_blocking_clients_have_the_same_rule() -> None:
    with pytest.raises(InvalidArgument, match="plaintext"):
        SyncServiceClient("localhost:50051", credentials={"a": "b"})


async def test_a_client_does_not_show_them() -> None:
    calling = BlazeClient(
        "localhost", 50051, credentials={"a": SECRET}, allow_insecure_credentials=True
    )
    async with calling:
        assert SECRET not in repr(calling) + repr(vars(calling))
