"""What ``blaze serve`` is told of its HTTP/2."""

from __future__ import annotations

import socket

import pytest

from tests.conftest import ServerProcess, StartServer
from tests.http2 import post
from tests.integration.conftest import blaze

ECHO = "/blazerpc.InferenceService/PredictStr"


def echo(server: ServerProcess, text: bytes, **headers: str) -> dict[str, str]:
    """Call the model with a text; return headers and trailers."""
    size = bytes([len(text)]) if len(text) < 128 else bytes([len(text) & 127 | 128, len(text) >> 7])
    message = b"\x0a" + size + text
    return post(server.port, ECHO, b"\0" + len(message).to_bytes(4, "big") + message, **headers)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_answers_are_compressed_for_those_who_take_it(
    start_server: StartServer, workers: str
) -> None:
    options = ("--compression", "gzip", "--http", "blaze", "--workers", workers)
    server = start_server("tests.apps.echo:app", *options)
    takes = echo(server, bytes(1000), grpc_accept_encoding="identity,deflate,gzip")
    assert (takes["grpc-encoding"], takes["grpc-status"]) == ("gzip", "0")
    assert "grpc-encoding" not in echo(server, bytes(1000))
    assert blaze("call", server.target, "str", f"value={'a' * 5000}").stdout == "a" * 5000 + "\n"


def test_answers_are_not_compressed_unless_that_is_asked_for(start_server: StartServer) -> None:
    server = start_server("tests.apps.echo:app", "--http", "blaze")
    assert "grpc-encoding" not in echo(server, bytes(1000), grpc_accept_encoding="gzip")


def test_a_limit_holds(start_server: StartServer) -> None:
    limits = ("--limit", "handshake_timeout=0.1", "--limit", "max_receive_message=10")
    server = start_server("tests.apps.echo:app", "--http", "blaze", *limits)
    assert echo(server, b"123456")["grpc-status"] == "0"
    assert echo(server, b"123456789")["grpc-status"] == "8"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as silent:
        while silent.recv(1024):
            pass


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--limit", "idle"), "--limit idle: it has the form NAME=VALUE"),
        (("--limit", "idle=3"), "--limit idle: there are: max_receive_message, max_send_message, "),
        (("--limit", "idle_timeout=soon"), "idle_timeout=soon: it takes a number, or none"),
        (("--limit", "max_connections=1.5"), "it takes a whole number, or none"),
        (("--limit", "max_frame_size=none"), "max_frame_size=none: it takes a whole number\n"),
        (("--limit", "max_frame_size=1"), "--limit max_frame_size is 1; it must be 16384 to"),
        (("--limit", "pings=3"), "pings=3: it has the form BURST/PER_SECOND, as in 1000/100"),
        (("--compression", "gzip", "--http", "h2"), "grpclib's HTTP/2 has no compression"),
        (("--max-message", "10", "--http", "h2"), "grpclib's HTTP/2 has no such limits"),
        (("--limit", "idle_timeout=3", "--http", "h2"), "grpclib's HTTP/2 has no such limits"),
        (("--metrics-host", "::1"), "metrics_host is that of metrics_port, which is not given"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(options: tuple[str, ...], error: str) -> None:
    done = blaze("serve", "tests.apps.echo:app", "--port", "0", *options)
    assert done.stderr.startswith("error: ")
    assert error in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.returncode == 2
