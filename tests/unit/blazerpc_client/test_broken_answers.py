"""Answers that break the protocol or are none, and those that come before all of a request."""

from __future__ import annotations

import asyncio
import struct

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from blazerpc import BlazeApp
from blazerpc_client import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    ResourceExhausted,
    RetryPolicy,
    RpcError,
    Unavailable,
    Unimplemented,
    Unknown,
)
from blazerpc_client.channel import Channel
from blazerpc_client.transport.choice import Http
from tests.unit.blazerpc_client.echo import ECHO, SOON, Call, say
from tests.unit.blazerpc_client.servers import (
    DONE,
    MESSAGE,
    OK,
    Script,
    address,
    answer,
    answering,
    saying,
    serving,
)

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
