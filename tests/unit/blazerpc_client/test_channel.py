from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import StringValue
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.server import Stream
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived

from blazerpc import BlazeApp
from blazerpc_client import (
    Aborted,
    Backoff,
    CallOptions,
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    Limits,
    ResourceExhausted,
    RetryPolicy,
    RpcError,
    Unavailable,
    Unimplemented,
    Unknown,
)
from blazerpc_client.channel import Channel
from blazerpc_client.targets import HostPort, parse_target
from blazerpc_client.transport.choice import Http
from tests.unit.blazerpc_client.servers import (
    Script,
    address,
    answering,
    saying,
    serving,
    serving_handlers,
)


@dataclass(frozen=True)
class Call:
    path: str
    request_class: type[Message] = StringValue
    response_class: type[Message] = StringValue
    idempotent: bool = False


ECHO, STREAM = Call("/test.Echo/Say"), Call("/test.Echo/Repeat")


def text(message: Message) -> str:
    assert isinstance(message, StringValue)
    return message.value


#: No answer takes so long; a call that hangs fails, and says so.
SOON = CallOptions(timeout=5)


class Echo:
    """Says what it is told; ``Repeat`` says it three times, and fails when that is "fail"."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}

    async def say(self, stream: Stream[StringValue, StringValue]) -> None:
        message = await stream.recv_message()
        assert message is not None
        assert stream.metadata is not None
        self.metadata = dict(stream.metadata)
        await stream.send_message(message)

    async def repeat(self, stream: Stream[StringValue, StringValue]) -> None:
        message = await stream.recv_message()
        assert message is not None
        for _ in range(3):
            await stream.send_message(message)
        if message.value == "fail":
            raise GRPCError(Status.ABORTED, "half way")

    def __mapping__(self) -> dict[str, Handler]:
        return {
            ECHO.path: Handler(self.say, Cardinality.UNARY_UNARY, StringValue, StringValue),
            STREAM.path: Handler(self.repeat, Cardinality.UNARY_STREAM, StringValue, StringValue),
        }


async def say(target: str, options: CallOptions = SOON) -> str:
    channel = Channel(target)
    try:
        return text(await channel.unary(ECHO, StringValue(value="a"), options))
    finally:
        channel.close()
        await asyncio.sleep(0)


async def repeat(target: str, value: str, heard: list[str]) -> None:
    channel = Channel(target)
    try:
        request = StringValue(value=value)
        async for message in channel.server_stream(STREAM, request, SOON):
            heard.append(text(message))  # noqa: PERF401 - those before an error count
    finally:
        channel.close()
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("localhost:50051", "localhost", 50051),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("example.com:65535", "example.com", 65535),
        ("[::1]:50051", "::1", 50051),
        ("[fe80::1%eth0]:50051", "fe80::1%eth0", 50051),
        ("my_host-1:80", "my_host-1", 80),
    ],
)
def test_an_address_is_host_and_port(target: str, host: str, port: int) -> None:
    assert parse_target(target).parts == (HostPort(host, port),)


@pytest.mark.parametrize(
    "target",
    [
        "",
        ":",
        "localhost",
        "localhost:",
        ":50051",
        "[]:50051",
        "::1:50051",
        "a:b:50051",
        "localhost:http",
        "localhost:0",
        "localhost:65536",
        "localhost:-1",
        "localhost:+1",
        "localhost: 1",
        "localhost:1_0",
        "http://localhost:50051",
        "localhost:50051/",
        "localhost:" + "9" * 5000,
    ],
    ids=lambda target: repr(target[:20]),
)
def test_what_is_no_address_is_refused_with_the_form_of_one(target: str) -> None:
    with pytest.raises(InvalidArgument, match="it has the form HOST:PORT") as error:
        Channel(target)
    assert error.value.field == "target"


def test_a_call_has_no_options_by_itself() -> None:
    assert (CallOptions().timeout, CallOptions().metadata) == (None, {})


@pytest.mark.parametrize("timeout", [0, 0.001, 60, 99_999_999])
def test_a_timeout_that_grpc_can_carry(timeout: float) -> None:
    assert CallOptions(timeout=timeout).timeout == timeout


@pytest.mark.parametrize("timeout", [-1, -0.001, 1e8, float("inf"), float("nan")])
def test_a_timeout_that_grpc_cannot_carry_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidArgument, match=f"timeout: {timeout} is out of range") as error:
        CallOptions(timeout=timeout)
    assert error.value.field == "timeout"


@pytest.mark.parametrize(
    "metadata",
    [
        {"Upper": "a"},
        {"with space": "a"},
        {"": "a"},
        {"é": "a"},
        {":path": "/"},
        {"te": "a"},
        {"content-type": "a"},
        {"grpc-timeout": "1S"},
        {"key": "é"},
        {"key": "a\nb"},
        {"key": ""},
        {"key": b"a"},
        {"key-bin": "a"},
    ],
)
def test_metadata_that_grpc_cannot_carry_is_refused(metadata: dict[str, str | bytes]) -> None:
    with pytest.raises(InvalidArgument, match=r"^metadata: ") as error:
        CallOptions(metadata=metadata)
    assert error.value.field == "metadata"


@pytest.mark.parametrize(
    "metadata",
    [
        {"token": "hunter2\n"},
        {"token": b"hunter2"},
        {"token-bin": "hunter2"},
        {"Token": "hunter2"},
        {"grpc-token": "hunter2"},
    ],
)
def test_an_error_names_the_key_and_keeps_the_value(metadata: dict[str, str | bytes]) -> None:
    (key,) = metadata
    with pytest.raises(InvalidArgument) as error:
        CallOptions(metadata=metadata)
    assert repr(key) in str(error.value)
    assert "hunter2" not in repr(error.value) + str(error.value)
    assert error.value.__cause__ is None


def test_options_show_the_keys_of_metadata_alone() -> None:
    shown = repr(CallOptions(timeout=2, metadata={"token": "hunter2", "raw-bin": b"hunter2"}))
    assert shown == "CallOptions(timeout=2, metadata={'token': ..., 'raw-bin': ...})"


async def test_a_call_is_answered() -> None:
    async with serving_handlers(Echo()) as target:
        assert await say(target) == "a"


async def test_metadata_arrives() -> None:
    echo = Echo()
    async with serving_handlers(echo) as target:
        await say(target, CallOptions(metadata={"token": "a b", "raw-bin": b"\xff\0"}))
    assert echo.metadata == {"token": "a b", "raw-bin": b"\xff\0"}


async def test_a_stream_is_heard_to_its_end() -> None:
    heard: list[str] = []
    async with serving_handlers(Echo()) as target:
        await repeat(target, "a", heard)
    assert heard == ["a"] * 3


async def test_what_came_before_a_stream_failed_is_heard() -> None:
    heard: list[str] = []
    async with serving_handlers(Echo()) as target:
        with pytest.raises(Aborted, match="half way"):
            await repeat(target, "fail", heard)
    assert heard == ["fail"] * 3


async def test_a_stream_can_be_left_early() -> None:
    async with serving_handlers(Echo()) as target:
        channel = Channel(target)
        async for message in channel.server_stream(STREAM, StringValue(value="a"), SOON):
            assert text(message) == "a"
            break
        # The connection goes on.
        assert text(await channel.unary(ECHO, StringValue(value="b"), SOON)) == "b"
        channel.close()
        await asyncio.sleep(0)


async def test_a_method_that_is_not_there_is_unimplemented() -> None:
    async with serving_handlers() as target:
        with pytest.raises(Unimplemented):
            await say(target)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_nobody_listens(host: str) -> None:
    with pytest.raises(Unavailable, match=rf"^cannot reach {host}:1: ".replace("[", r"\[")):
        await say(f"{host}:1")


@pytest.mark.parametrize(
    "host", ["no such host", "nothing.invalid", "a..b", "x" * 70, "é" * 70, "a\0b"], ids=range(6)
)
async def test_a_host_that_is_none_cannot_be_reached(host: str) -> None:
    with pytest.raises(RpcError, match=r"cannot reach|has the form"):
        await say(f"{host}:80")


async def test_a_server_that_never_answers_exceeds_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="deadline exceeded"):
            await say(address(listener), CallOptions(timeout=0.05))
    assert 0.04 < time.monotonic() - started < 2


async def test_a_deadline_holds_for_a_stream_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        channel = Channel(address(listener))
        options = CallOptions(timeout=0.05)
        with pytest.raises(DeadlineExceeded):
            async for _ in channel.server_stream(STREAM, StringValue(), options):
                pass
        channel.close()
        await asyncio.sleep(0)


async def test_a_deadline_of_nothing_is_over_at_once() -> None:
    async with serving_handlers(Echo()) as target:
        with pytest.raises(DeadlineExceeded):
            await say(target, CallOptions(timeout=0))


OK = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]
MESSAGE = b"\0" + struct.pack(">I", 3) + b"\x0a\x01a"


def answer(
    headers: list[tuple[str, str]],
    body: bytes | None = None,
    trailers: list[tuple[str, str]] | None = None,
    *,
    reset: bool = False,
) -> Script:
    def script(connection: H2Connection, stream: int) -> None:
        connection.send_headers(
            stream, headers, end_stream=body is None and trailers is None and not reset
        )
        if body is not None:
            connection.send_data(stream, body, end_stream=trailers is None and not reset)
        if trailers is not None:
            connection.send_headers(stream, trailers, end_stream=True)
        if reset:
            connection.reset_stream(stream)

    return script


async def test_a_channel_connects_again_when_its_server_is_back() -> None:
    request = StringValue(value="?")
    async with answering(answer(OK, MESSAGE, DONE)) as target:
        channel = Channel(target)
        assert text(await channel.unary(ECHO, request, SOON)) == "a"
    with pytest.raises(Unavailable, match=f"cannot reach {target}"):
        await channel.unary(ECHO, request, SOON)
    async with answering(answer(OK, MESSAGE, DONE), int(target.rpartition(":")[2])):
        with pytest.raises(Unavailable, match=r"; the next attempt is in [01]\.[0-9] s$"):
            await channel.unary(ECHO, request, SOON)
        patient = CallOptions(timeout=5, wait_for_ready=True)
        assert text(await channel.unary(ECHO, request, patient)) == "a"
        assert text(await channel.unary(ECHO, request, SOON)) == "a"
        channel.close()
        await asyncio.sleep(0)


class Refusing:
    """Refuses the first requests before it begins them (RFC 9113, section 8.7)."""

    def __init__(self, refused: int) -> None:
        self.requests = 0
        self._refused = refused

    def __call__(self, connection: H2Connection, stream: int) -> None:
        self.requests += 1
        if self.requests <= self._refused:
            connection.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        else:
            answer(OK, MESSAGE, DONE)(connection, stream)


@pytest.mark.parametrize("shape", ["unary", "stream"])
@pytest.mark.parametrize("refused", [2, 3])
async def test_a_call_that_no_server_has_begun_is_made_again_twice(
    shape: str, refused: int
) -> None:
    script = Refusing(refused)
    heard: list[str] = []
    async with answering(script) as target:
        channel = Channel(target, http="blaze")  # grpclib's HTTP/2 does not tell such a failure

        async def call() -> None:
            if shape == "unary":
                heard.append(text(await channel.unary(ECHO, StringValue(), SOON)))
            else:
                stream = channel.server_stream(STREAM, StringValue(), SOON)
                heard.extend([text(message) async for message in stream])

        try:
            if refused == 2:
                await call()
            else:
                with pytest.raises(Unavailable):
                    await call()
        finally:
            channel.close()
    assert (heard, script.requests) == (["a"] if refused == 2 else [], 3)


async def test_the_wait_for_the_next_attempt_grows() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = address(listener)
    backoff = Backoff(initial=0.1, multiplier=100, maximum=3600, jitter=0)
    channel = Channel(target, backoff=backoff)
    told = ""
    async with asyncio.timeout(20):
        while not re.search(r"; the next attempt is in (9|10)\.[0-9] s$", told):
            with pytest.raises(Unavailable) as error:
                await channel.unary(ECHO, StringValue(), SOON)
            told = error.value.message
            await asyncio.sleep(0.001)
    channel.close()


class SilentHealth(HealthBase):
    """Takes questions, and answers none."""

    async def Check(self, stream: Stream[Any, Any]) -> None:  # noqa: N802 - the rpc's name
        raise NotImplementedError

    async def Watch(self, stream: Stream[Any, Any]) -> None:  # noqa: N802 - likewise
        await asyncio.Event().wait()


async def test_a_server_that_says_nothing_of_its_health_gets_no_calls() -> None:
    async with serving_handlers(Echo(), SilentHealth()) as target:
        channel = Channel(target, health=True, limits=Limits(handshake_timeout=0.2))
        told = "no health of the server: deadline exceeded$"
        with pytest.raises(Unavailable, match=told):
            await channel.unary(ECHO, StringValue(), SOON)
        channel.close()
        await asyncio.sleep(0)


async def test_a_server_without_health_serves() -> None:
    async with serving_handlers(Echo()) as target:
        channel = Channel(target, health=True)
        assert text(await channel.unary(ECHO, StringValue(value="a"), SOON)) == "a"
        channel.close()
        await asyncio.sleep(0)


async def test_closing_fails_the_calls_in_flight() -> None:
    arrived = asyncio.Event()
    async with answering(lambda connection, stream: arrived.set()) as target:
        channel = Channel(target)
        call = asyncio.create_task(channel.unary(ECHO, StringValue(), SOON))
        await arrived.wait()
        channel.close()
        with pytest.raises(Unavailable, match=target):
            await call


def test_closing_what_was_never_open_does_nothing() -> None:
    Channel("localhost:1").close()


# What peers say that speak no HTTP/2 at all, or not to its end.
PREFACE = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
GOAWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + struct.pack(">II", 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"\x00" * 100,
        b"\xff" * 100,
        PREFACE,
        PREFACE + GOAWAY,
        PREFACE + b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
        PREFACE + b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\xff",
        PREFACE[:5],
    ],
    ids=[
        "nothing",
        "HTTP/1.1",
        "SSH",
        "TLS",
        "zeros",
        "ones",
        "settings",
        "goaway",
        "a frame too large",
        "headers that are none",
        "half a frame",
    ],
)
async def test_a_peer_that_speaks_something_else_is_not_available(data: bytes) -> None:
    async with saying(data) as target:
        with pytest.raises((Unavailable, Internal), match=target):
            await say(target)


async def test_the_peer_of_these_tests_can_answer_well() -> None:
    async with answering(answer(OK, MESSAGE, DONE)) as target:
        assert await say(target) == "a"


@pytest.mark.parametrize(
    ("script", "expected", "message"),
    [
        (answer([(":status", "502")]), Unavailable, "502"),
        (answer([(":status", "404"), *OK[1:]]), Unimplemented, "404"),
        (answer([(":status", "418")]), Unknown, "418"),
        (answer([(":status", "200")]), Unknown, "content-type"),
        (answer([(":status", "200"), ("content-type", "text/html")]), Unknown, "text/html"),
        (answer(OK), RpcError, None),
        (answer(OK, MESSAGE), RpcError, None),
        (answer(OK, MESSAGE, [("a", "b")]), Unknown, "grpc-status"),
        (answer(OK, MESSAGE, [("grpc-status", "many")]), Unknown, "many"),
        (answer(OK, MESSAGE, [("grpc-status", "99")]), Unknown, "99"),
        (answer(OK, b"", DONE), Internal, "without a message"),
        (answer([*OK, *DONE]), Internal, "without a message"),
        (answer(OK, MESSAGE * 2, DONE), Internal, "more than one message"),
        (answer(OK, MESSAGE[:3], DONE), Internal, "broke the protocol"),
        (answer(OK, MESSAGE[:-1], DONE), Internal, "broke the protocol"),
        (answer(OK, b"\x01" + MESSAGE[1:], DONE), RpcError, "(?i)compress"),
        (answer(OK, b"\0" + struct.pack(">I", 2) + b"\xff\xff", DONE), Internal, "protocol"),
        (answer(OK, b"\0\xff\xff\xff\xff" + b"a", DONE), RpcError, "protocol|4294967295 bytes"),
        (answer(OK, MESSAGE, reset=True), Unavailable, None),
        (answer(OK, reset=True), Unavailable, None),
        (answer([*OK, ("grpc-status", "1"), ("grpc-message", "%")]), Cancelled, "%"),
        (answer([*OK, ("grpc-status", "1"), ("grpc-message", "%ff")]), Cancelled, "\ufffd"),
        (answer([*OK, ("grpc-status", "10"), ("grpc-status-details-bin", "!")]), RpcError, None),
        (answer([*OK, ("grpc-status", "10"), ("grpc-status-details-bin", "/w")]), RpcError, None),
        (answer([*OK, ("grpc-status", "10"), ("grpc-status-details-bin", "é")]), RpcError, None),
        (answer([*OK, ("grpc-status", "10"), ("grpc-message", "é")]), RpcError, None),
        (answer([*OK, ("trace-bin", "a"), ("grpc-status", "10")]), RpcError, None),
        (answer(OK, MESSAGE, [*DONE, ("trace-bin", "a")]), Internal, "broke the protocol"),
    ],
    ids=[
        "502",
        "404",
        "418",
        "no content-type",
        "HTML",
        "headers alone",
        "no trailers",
        "no status",
        "a status that is no number",
        "a status that is none",
        "no message",
        "OK and no message",
        "two messages",
        "half a prefix",
        "half a message",
        "a compressed message",
        "a message that is none",
        "a message that never ends",
        "reset after the message",
        "reset after the headers",
        "a percent sign",
        "a text that is no UTF-8",
        "details that are no base64",
        "details that are no message",
        "details that are not ASCII",
        "a text that is not ASCII",
        "metadata that is no base64",
        "trailers that are no base64",
    ],
)
async def test_an_answer_that_is_broken_is_an_rpc_error(
    script: Script, expected: type[RpcError], message: str | None
) -> None:
    async with answering(script) as target:
        with pytest.raises(expected, match=message) as error:
            await say(target)
    assert not isinstance(error.value, DeadlineExceeded)


@pytest.mark.parametrize("http", ["blaze", "h2"])
@pytest.mark.parametrize("retry", [None, RetryPolicy()], ids=["once", "retried"])
async def test_an_answer_that_never_ends_is_not_kept(http: Http, retry: RetryPolicy | None) -> None:
    def script(connection: H2Connection, stream: int) -> None:
        connection.send_headers(stream, OK)
        connection.send_data(stream, MESSAGE * 1000)

    async with answering(script) as target:
        channel = Channel(target, http=http, retry=retry)
        try:
            with pytest.raises(Internal, match="more than one message"):
                await channel.unary(ECHO, StringValue(), SOON)
        finally:
            channel.close()


@pytest.mark.parametrize("http", ["blaze", "h2"])
@pytest.mark.parametrize("shape", ["unary", "stream"])
@pytest.mark.parametrize("size", [5 << 20, 40 << 20])
async def test_a_request_that_is_refused_while_it_is_sent(
    http: Http, shape: str, size: int
) -> None:
    app = BlazeApp("small")

    @app.model("echo")
    async def echo(data: bytes) -> bytes:
        return data

    call = Call("/blazerpc.InferenceService/PredictEcho")
    async with serving(app, http="blaze") as target:  # grpclib's has no limit
        channel = Channel(target, http=http)
        request = StringValue(value="a" * size)
        try:
            for _ in range(3):
                with pytest.raises(ResourceExhausted, match="4194304"):
                    await (
                        channel.unary(call, request, SOON)
                        if shape == "unary"
                        else anext(channel.server_stream(call, request, SOON))
                    )
        finally:
            channel.close()


@pytest.mark.parametrize("http", ["blaze", "h2"])
async def test_a_status_ends_the_sending_though_nobody_resets_the_stream(http: Http) -> None:
    gone = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        while data := await reader.read(1 << 16):
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    assert event.stream_id is not None
                    refusal = [*OK, ("grpc-status", "8"), ("grpc-message", "no")]
                    connection.send_headers(event.stream_id, refusal, end_stream=True)
            writer.write(connection.data_to_send())
        writer.close()
        gone.set()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        channel = Channel(address(server.sockets[0]), http=http)
        try:
            with pytest.raises(ResourceExhausted, match="no"):
                await channel.unary(ECHO, StringValue(value="a" * (1 << 20)), SOON)
        finally:
            channel.close()
        await gone.wait()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"limits": 3}, "limits"),
        ({"backoff": 1}, "backoff"),
        ({"health": 3}, "health"),
        ({"retry": 3}, "retry"),
        ({"target": 5}, "target"),
    ],
)
def test_an_option_of_another_kind_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Channel(**{"target": "127.0.0.1:1", **options})
    assert caught.value.field == field


def test_to_wait_or_not_is_no_text() -> None:
    with pytest.raises(InvalidArgument, match="wait_for_ready: 'no' is not True or False"):
        CallOptions(wait_for_ready="no")  # type: ignore[arg-type]  # who has no type checker
