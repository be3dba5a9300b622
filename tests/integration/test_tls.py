"""TLS between processes: who is let in, who is not and why, and certificates that change."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from blazerpc_client import BlazeClient, ClientTLS, Credentials, RpcError, Unavailable
from blazerpc_client.tls import TLS
from blazerpc_client.transport.choice import Http
from tests.authorities import Files, Pair
from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.conftest import blaze, logged

APP = "tests.apps.secured:app"
Array = npt.NDArray[np.float32]
KINDS: tuple[Http, ...] = ("blaze", "h2")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module", params=KINDS)
def server(
    request: pytest.FixtureRequest, files: Files, start_module_server: StartServer
) -> ServerProcess:
    """A server on either HTTP/2 that asks for certificates."""
    return start_module_server(APP, "--http", request.param, *files.serve_options())


def client(server: ServerProcess, tls: TLS, http: Http = "blaze") -> BlazeClient:
    return BlazeClient("127.0.0.1", server.port, tls=tls, http=http)


async def whoami(server: ServerProcess, tls: TLS, http: Http = "blaze") -> object:
    async with asyncio.timeout(30), client(server, tls, http) as calling:
        return await calling.predict("whoami")


def refusal(server: ServerProcess, tls: TLS, http: Http = "blaze") -> str:
    """Return why the client cannot call."""
    with pytest.raises(Unavailable) as caught:
        asyncio.run(whoami(server, tls, http))
    message = caught.value.message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("http", KINDS)
async def test_calls_of_every_shape_go_through(
    server: ServerProcess, files: Files, http: Http
) -> None:
    async with client(server, files.client_tls(), http) as calling:
        assert await calling.predict("whoami") == "alice"
        assert [n async for n in calling.stream("count", to=50)] == list(range(50))
        x = np.arange(900_000, dtype=np.float32)
        assert np.array_equal(cast(Array, await calling.predict("negate", x=x)), -x)


def by_name(files: Files) -> TLS:
    return files.client_tls(server_name="example.org")


def by_other_authority(files: Files) -> TLS:
    return ClientTLS(ca=files.theirs.ca, cert=files.alice.cert, key=files.alice.key)


def without_certificate(files: Files) -> TLS:
    return ClientTLS(ca=files.ours.ca)


def of_other_authority(files: Files) -> TLS:
    return files.client_tls(files.theirs.issue("mallory", "m@example.org", common_name="alice"))


def of_the_past(files: Files) -> TLS:
    return files.client_tls(files.ours.issue("old", "a@example.org", expired=True))


REFUSED: list[tuple[Callable[[Files], TLS], str, str]] = [
    (by_name, "not valid for 'example.org'", "refuses this side's certificate"),
    (by_other_authority, "server's certificate is refused: ", "does not know the authority"),
    (without_certificate, "asks for a certificate, and none was sent", "sent no certificate"),
    (of_other_authority, "does not know the authority", "client's certificate is refused: "),
    (of_the_past, "certificate has expired", "certificate has expired"),
]


@pytest.mark.parametrize(("make", "told", "written"), REFUSED)
@pytest.mark.parametrize("http", KINDS)
async def test_who_is_refused_is_told_why_and_so_is_the_log(
    server: ServerProcess,
    files: Files,
    make: Callable[[Files], TLS],
    told: str,
    written: str,
    http: Http,
) -> None:
    before = len(server.errors())
    message = await asyncio.to_thread(refusal, server, make(files), http)
    assert told in message
    async with asyncio.timeout(30):
        while "no TLS with" not in server.errors()[before:]:
            await asyncio.sleep(0.01)
    new = server.errors()[before:]
    (line,) = (line for line in new.splitlines() if "no TLS with 127.0.0.1:" in line)
    assert written in line
    assert "Traceback" not in new
    assert await whoami(server, files.client_tls(), http) == "alice"


@pytest.mark.parametrize("http", KINDS)
def test_an_expired_server_is_refused(files: Files, start_server: StartServer, http: Http) -> None:
    old = files.ours.issue("old-server", "localhost", "127.0.0.1", expired=True)
    server = start_server(APP, "--tls-cert", str(old.cert), "--tls-key", str(old.key))
    assert "certificate has expired" in refusal(server, ClientTLS(ca=files.ours.ca), http)
    code, errors = server.stop()
    assert code == 0
    assert errors.count("no TLS with") == 1
    assert "says that this side's certificate has expired" in errors


@pytest.mark.parametrize("http", KINDS)
def test_plaintext_to_a_port_of_tls_is_told_so(server: ServerProcess, http: Http) -> None:
    assert "speaks TLS" in refusal(server, None, http)
    assert "speaks no TLS" in server.errors()
    assert "Traceback" not in server.errors()


@pytest.mark.parametrize("http", KINDS)
@pytest.mark.parametrize("served", KINDS)
def test_tls_to_a_port_of_plaintext_is_told_so(
    files: Files, start_server: StartServer, http: Http, served: Http
) -> None:
    server = start_server(APP, "--http", served)
    message = refusal(server, files.client_tls(), http)
    assert "speaks no TLS" in message or "hung up during the handshake" in message
    code, errors = server.stop()
    assert code == 0
    assert "Traceback" not in errors


def raw(files: Files) -> ssl.SSLContext:
    """Return a context of a stranger, which has a certificate."""
    context = ssl.create_default_context(cafile=str(files.ours.ca))
    context.load_cert_chain(files.alice.cert, files.alice.key)
    return context


def until_closed(server: ServerProcess, context: ssl.SSLContext) -> bytes:
    """Return what a server says to whoever connects so, until it hangs up."""
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        return secured.recv(1 << 16)


async def test_a_client_without_h2_is_refused(server: ServerProcess, files: Files) -> None:
    context = raw(files)
    assert await asyncio.to_thread(until_closed, server, context) == b""
    await logged(server, "the client does not speak HTTP/2 over TLS (ALPN h2)")


async def test_one_with_other_protocols_is_refused(server: ServerProcess, files: Files) -> None:
    context = raw(files)
    context.set_alpn_protocols(["http/1.1"])
    assert await asyncio.to_thread(until_closed, server, context) == b""


def test_tls_1_1_is_refused(server: ServerProcess, files: Files) -> None:
    context = raw(files)
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL"):
        until_closed(server, context)


def test_tls_1_2_is_taken(server: ServerProcess, files: Files) -> None:
    context = raw(files)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert asyncio.run(whoami(server, context)) == "alice"


@pytest.mark.parametrize("http", KINDS)
async def test_a_server_without_h2_is_refused(files: Files, http: Http) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.server.cert, files.server.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with BlazeClient("127.0.0.1", port, tls=files.client_tls(), http=http) as calling:
            with pytest.raises(Unavailable, match="the server does not speak HTTP/2 over TLS"):
                await calling.predict("whoami")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("http", KINDS)
async def test_certificates_that_change_are_read_again(
    tmp_path: Path, start_server: StartServer, workers: str, http: Http
) -> None:
    files = Files(tmp_path)
    server = start_server(APP, "--workers", workers, "--http", http, *files.serve_options())
    async with client(server, files.client_tls(), http) as before:
        stream = before.stream("count", to=2000)
        assert await anext(stream) == 0
        first = await asyncio.to_thread(certificate, server, files)
        files.ours.issue("server", "localhost", "127.0.0.1")
        second = await asyncio.to_thread(certificate, server, files)
        assert second != first
        replace(files.server.cert, b"no certificate")
        # A worker that was not connected to meanwhile has not seen the second.
        kept = {second} if workers == "1" else {first, second}
        for _ in range(3):
            assert await asyncio.to_thread(certificate, server, files) in kept
        await logged(server, "keeping the certificates as they were: ")
        assert [n async for n in stream] == list(range(1, 2000))
        assert await before.predict("whoami") == "alice"
    code, errors = server.stop()
    assert code == 0
    assert "Traceback" not in errors


def replace(file: Path, content: bytes) -> None:
    """Write a file as whoever renews certificates should: whole or not at all."""
    new = file.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, file)


def certificate(server: ServerProcess, files: Files) -> bytes | None:
    """Return the certificate that a server shows to a new connection."""
    context = raw(files)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        secured.recv(1)  # the server's settings: it has accepted this side
        return secured.getpeercert(binary_form=True)


async def test_a_client_reads_its_own_again(tmp_path: Path, start_server: StartServer) -> None:
    files = Files(tmp_path)
    server = start_server(APP, *files.serve_options())
    tls = files.client_tls()
    async with client(server, tls) as calling:
        assert await calling.predict("whoami") == "alice"
        files.ours.issue("alice", "carol@example.org", common_name="carol")
        assert await calling.predict("whoami") == "alice"  # on the connection that there is
        pool = calling._channel._pool
        assert pool is not None
        for connection in list(pool.open):
            connection.close()
        assert await calling.predict("whoami") == "carol"


@pytest.mark.parametrize("options", [["--workers", "2"], ["--reload"]])
def test_it_works_in_several_processes(
    files: Files, start_server: StartServer, options: list[str]
) -> None:
    server = start_server(APP, *options, *files.serve_options())
    assert asyncio.run(whoami(server, files.client_tls())) == "alice"
    assert server.stop()[0] == 0


# The command line.


def test_every_command_that_calls_takes_the_options(
    server: ServerProcess, files: Files, tmp_path: Path
) -> None:
    options = files.call_options()
    assert blaze("health", server.target, *options).stdout == "SERVING\n"
    assert "whoami" in blaze("inspect", server.target, *options).stdout
    assert blaze("call", server.target, "whoami", *options).stdout == "alice\n"
    done = blaze("client", "gen", "--from", server.target, "--out", str(tmp_path), *options)
    assert done.returncode == 0, done.stderr
    package = str(tmp_path / "inference_client")
    done = blaze("client", "check", package, "--from", server.target, *options)
    assert (done.returncode, done.stdout) == (0, "same\n")


COMMANDS = [["health"], ["inspect"], ["call"], ["client", "gen", "--from"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_that_is_refused_says_why_on_one_line(
    server: ServerProcess, files: Files, command: list[str], tmp_path: Path
) -> None:
    model = ["whoami"] if command == ["call"] else []
    words = [*command, server.target, *model]
    done = blaze(*words, "--ca", str(files.theirs.ca), cwd=Path.cwd())
    assert done.returncode == (78 if command == ["call"] else 1)
    assert done.stderr.count("\n") == 1
    assert "the server's certificate is refused" in done.stderr
    assert "is the server running" not in done.stderr


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        (["--cert", "{cert}"], "--cert and --key go together"),
        (["--ca", "/nowhere.pem"], "cannot read /nowhere.pem: No such file or directory"),
        (["--ca", "{key}"], "{key} has no certificates in PEM"),
        (["--cert", "{cert}", "--key", "{other}"], "{other} is not the key of {cert}"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_options_that_cannot_be_used(
    server: ServerProcess, files: Files, command: list[str], options: list[str], mend: str
) -> None:
    names = {"cert": files.alice.cert, "key": files.alice.key, "other": files.server.key}
    model = ["whoami"] if command == ["call"] else []
    filled = [option.format_map(names) for option in options]
    done = blaze(*command, server.target, *model, *filled)
    assert done.returncode in (1, 2)
    assert done.stderr.count("\n") == 1
    assert mend.format_map(names) in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("options", "mend"),
    [
        (["--tls-cert", "{cert}"], "--tls-cert and --tls-key go together"),
        (["--tls-client-ca", "{cert}"], "--tls-client-ca needs --tls-cert and --tls-key"),
        (["--tls-cert", "/nowhere", "--tls-key", "{key}"], "cannot read /nowhere"),
        (["--tls-cert", "{cert}", "--tls-key", "{other}"], "{other} is not the key of {cert}"),
    ],
)
def test_a_server_with_files_that_cannot_be_used_does_not_start(
    files: Files, start_server: StartServer, options: list[str], mend: str, workers: str
) -> None:
    pair: Pair = files.server
    names = {"cert": pair.cert, "key": pair.key, "other": files.alice.key}
    filled = [option.format_map(names) for option in options]
    server = start_server(APP, "--workers", workers, *filled, listening=False)
    code, errors = server.wait(30)
    assert code == (2 if "--tls" in mend else 1)
    assert mend.format_map(names) in " ".join(errors.split())
    assert "Traceback" not in errors


def test_the_example_lets_in_who_has_a_certificate_and_nobody_else() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.tls"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no TLS with 127.0.0.1") == 5
    assert "Hello, alice!" in done.stdout


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("http", KINDS)
def test_no_token_is_in_the_log_or_in_an_error(
    files: Files, start_server: StartServer, http: Http, form: str
) -> None:
    options = ["--log-level", "debug", "--log-format", form, "--http", http]
    server = start_server(APP, *options, *files.serve_options(clients=False))

    async def ask(token: str) -> str:
        credentials: Credentials = {"authorization": f"Bearer {token}"}
        tls = ClientTLS(ca=files.ours.ca)
        async with BlazeClient(
            "127.0.0.1", server.port, tls=tls, http=http, credentials=credentials
        ) as calling:
            try:
                return str(await calling.predict("whoami"))
            except RpcError as error:
                return f"{error!r} {error} {error.details} {error.trailing_metadata}"

    assert asyncio.run(ask("correct-horse")) == "bob"
    assert "the call has no valid credentials" in (shown := asyncio.run(ask("wrong-horse")))
    code, errors = server.stop()
    assert code == 0
    assert "UNAUTHENTICATED" in errors
    assert ("principal=bob" if form == "text" else '"principal": "bob"') in errors
    assert "-horse" not in errors + shown
