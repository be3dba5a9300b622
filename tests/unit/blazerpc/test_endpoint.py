"""The endpoint of metrics, and those who connect to it and say nothing."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter

from blazerpc.endpoint import metrics_endpoint

# Several times as many as it takes.
MANY = 100


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("calls", "Calls.", registry=made).inc()
    return made


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as response:
        text: str = response.read().decode()
    return text


def silent(url: str) -> Iterator[socket.socket]:
    host, _, port = url.removeprefix("http://").removesuffix("/metrics").rpartition(":")
    for _ in range(MANY):
        made = socket.create_connection((host.strip("[]"), int(port)), timeout=20)
        made.sendall(b"GET /metrics HTTP/1.1\r\n")
        yield made


def is_hung_up_on(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:  # closed with what it said unread
        return True


def test_it_is_read_by_address_and_by_name(registry: CollectorRegistry) -> None:
    for host in "127.0.0.1", "localhost":
        with metrics_endpoint(host, 0, registry) as url:
            assert "calls_total 1.0" in read(url)


def test_who_says_nothing_is_hung_up_on_and_nobody_waits_for_it(
    registry: CollectorRegistry, capfd: pytest.CaptureFixture[str]
) -> None:
    with metrics_endpoint("127.0.0.1", 0, registry, patience=0.05) as url:
        connections = list(silent(url))
        for connection in connections:
            assert is_hung_up_on(connection)
            connection.close()
        assert "calls_total 1.0" in read(url)
    assert capfd.readouterr() == ("", "")


def test_connections_have_no_more_threads_than_there_are_places(
    registry: CollectorRegistry,
) -> None:
    before = threading.active_count()
    with metrics_endpoint("127.0.0.1", 0, registry, patience=60) as url:
        connections = list(silent(url))
        # The last of them is hung up on once all before it were taken, or refused.
        assert is_hung_up_on(connections[-1])
        assert threading.active_count() - before < MANY / 2
        for connection in connections:
            connection.close()
