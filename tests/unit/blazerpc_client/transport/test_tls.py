"""TLS below a protocol: what goes wrong before a connection is one, in one process."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from blazerpc import BlazeApp, ConfigurationError, ServeOptions, ServerTLS
from blazerpc.server import GRPCServer
from blazerpc_client import BlazeClient, ClientTLS, InvalidArgument, Limits, Unavailable
from blazerpc_client.channel import Channel
from blazerpc_client.tls import TLS, Contexts, new_context
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT
from tests.authorities import Files

KINDS: tuple[Http, ...] = ("blaze", "h2")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


def make_app() -> BlazeApp:
    app = BlazeApp()

    @app.model("echo")
    def echo(text: str) -> str:
        return text

    return app


@asynccontextmanager
async def serving(
    tls: ServerTLS | ssl.SSLContext | None, http: Http = "blaze", limits: Limits = DEFAULT
) -> AsyncIterator[GRPCServer]:
    server = make_app().server(ServeOptions(port=0, ssl=tls, http=http, limits=limits))
    await server.listen(port=0)
    waiting = asyncio.create_task(server.wait())
    try:
        yield server
    finally:
        await server.stop()
        async with asyncio.timeout(20):
            await waiting


async def echoed(server: GRPCServer, tls: TLS, http: Http = "blaze") -> object:
    async with BlazeClient("127.0.0.1", server.port, tls=tls, http=http) as client:
        return await client.predict("echo", text="a")


@pytest.mark.parametrize("http", KINDS)
@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01"])
async def test_a_handshake_that_does_not_end_is_ended(
    files: Files, caplog: pytest.LogCaptureFixture, http: Http, said: bytes
) -> None:
    caplog.set_level(logging.DEBUG, "blazerpc.server")
    async with serving(files.server_tls(), http, Limits(handshake_timeout=0.05)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(said)
        async with asyncio.timeout(20):
            await reader.read()
            writer.close()
            while "ended no handshake within 0.05 s" not in caplog.text:
                await asyncio.sleep(0.001)
        assert await echoed(server, files.client_tls(), http) == "a"
    (record,) = (r for r in caplog.records if "no TLS with" in r.getMessage())
    assert record.levelno == (logging.WARNING if said else logging.DEBUG)


@pytest.mark.parametrize("http", KINDS)
async def test_a_server_that_says_nothing_is_given_up(files: Files, http: Http) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        client = BlazeClient(
            "127.0.0.1",
            port,
            tls=files.client_tls(),
            http=http,
            limits=Limits(handshake_timeout=0.05),
        )
        async with asyncio.timeout(20), client:
            with pytest.raises(Unavailable, match=r"no answer within 0\.05 s"):
                await client.predict("echo", text="a")


@pytest.mark.parametrize("http", KINDS)
@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"\x16\x03\x03\x00\x02\xff\xff", b""])
async def test_a_server_of_something_else_is_refused(files: Files, http: Http, said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with (
            asyncio.timeout(20),
            BlazeClient("127.0.0.1", port, tls=files.client_tls(), http=http) as client,
        ):
            with pytest.raises(Unavailable) as caught:
                await client.predict("echo", text="a")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("http", KINDS)
@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x00\x03abc",
        b"\x80",
    ],
)
async def test_bytes_of_a_stranger_are_one_line_in_the_log(
    files: Files, caplog: pytest.LogCaptureFixture, http: Http, said: bytes
) -> None:
    async with serving(files.server_tls(), http) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(said)
        writer.write_eof()
        async with asyncio.timeout(20):
            await reader.read()
        writer.close()
        assert await echoed(server, files.client_tls(), http) == "a"
    assert [r.levelname for r in caplog.records if "no TLS with" in r.getMessage()] == ["WARNING"]
    assert "Traceback" not in caplog.text


async def test_a_stop_does_not_wait_for_handshakes(files: Files) -> None:
    async with serving(files.server_tls()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await server.stop()
        async with asyncio.timeout(10):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        writer.close()


async def test_a_client_that_is_closed_while_connecting_leaves_no_connection(
    files: Files,
) -> None:
    heard, closed = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionResetError):
            await reader.read(1)
            heard.set()
            await reader.read()
        writer.close()
        closed.set()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with BlazeClient("127.0.0.1", port, tls=files.client_tls()) as client:
            calling = asyncio.ensure_future(client.predict("echo", text="a"))
            async with asyncio.timeout(20):
                await heard.wait()
                calling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await calling
        async with asyncio.timeout(20):
            await closed.wait()


@pytest.mark.parametrize("http", KINDS)
async def test_contexts_of_the_users_own_are_taken(files: Files, http: Http) -> None:
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.ours.ca))
    served.load_cert_chain(files.server.cert, files.server.key)
    served.verify_mode = ssl.CERT_REQUIRED
    calling = ssl.create_default_context(cafile=str(files.ours.ca))
    calling.load_cert_chain(files.alice.cert, files.alice.key)
    async with serving(served, http) as server:
        assert await echoed(server, calling, http) == "a"


async def test_the_systems_authorities_do_not_know_ours(files: Files) -> None:
    async with serving(files.server_tls(clients=False)) as server:
        with pytest.raises(Unavailable, match="the server's certificate is refused"):
            await echoed(server, True)


def test_the_systems_authorities_are_those_of_the_environment(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files.ours.ca))

    async def main() -> object:
        async with serving(files.server_tls(clients=False)) as server:
            return await echoed(server, True)

    assert asyncio.run(main()) == "a"


async def test_a_name_may_be_another_than_that_of_the_target(files: Files) -> None:
    named = files.ours.issue("named", "models.example.org")
    async with serving(files.server_tls(named)) as server:
        tls = files.client_tls(server_name="models.example.org")
        assert await echoed(server, tls) == "a"
        with pytest.raises(Unavailable, match="certificate is refused"):
            await echoed(server, files.client_tls())


def make_client_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def make_server_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def test_contexts_of_the_other_side_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="not made with PROTOCOL_TLS_CLIENT"):
        Channel("localhost:1", tls=make_server_context())
    options = ServeOptions(ssl=make_client_context())
    with pytest.raises(ConfigurationError, match="not made with PROTOCOL_TLS_SERVER"):
        make_app().server(options)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_contexts_of_old_versions_are_refused() -> None:
    context = make_client_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(InvalidArgument, match=r"older than TLS 1\.2"):
        Channel("localhost:1", tls=context)


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="cert and key go together"):
        ClientTLS(cert="a.pem")
    with pytest.raises(InvalidArgument, match="server_name is empty"):
        ClientTLS(server_name="")


def test_a_key_with_a_passphrase_is_refused_and_not_asked_for(files: Files, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(files.server.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    options = ServeOptions(ssl=ServerTLS(cert=files.server.cert, key=locked))
    with pytest.raises(ConfigurationError, match="a key with a passphrase cannot be used"):
        make_app().server(options)


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[Contexts, Path, list[int]]:
    file, made = tmp_path / "file", [0]
    file.write_text("1")

    def make() -> ssl.SSLContext:
        if "broken" in file.read_text():
            raise ValueError("it is broken")
        made[0] += 1
        return new_context(ssl.PROTOCOL_TLS_CLIENT)

    return Contexts(make, [file]), file, made


def test_a_context_is_made_again_when_its_files_change(
    contexts: tuple[Contexts, Path, list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    holder, file, made = contexts
    first = holder.current()
    assert holder.current() is first
    file.write_text("two")
    second = holder.current()
    assert second is not first
    file.write_text("broken")
    assert holder.current() is second
    assert holder.current() is second
    file.unlink()
    assert holder.current() is second
    file.write_text("three")
    assert holder.current() not in (first, second)
    assert made == [3]
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert errors[0] == "keeping the certificates as they were: it is broken"
