from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from blazerpc_client import InvalidArgument
from blazerpc_client.channel import Channel
from blazerpc_client.targets import MOST, DnsName, HostPort, UnixPath, parse_target, unix_path

A, B = HostPort("a", 1), HostPort("b", 2)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("a:1", (A,)),
        ("a:1,b:2", (A, B)),
        ("a:1, b:2", (A, B)),
        (["a:1", "b:2"], (A, B)),
        (("a:1", "a:1", "b:2"), (A, B)),
        ("[::1]:50051", (HostPort("::1", 50051),)),
        ("unix:/run/app.sock", (UnixPath("/run/app.sock"),)),
        ("unix:///run/app.sock", (UnixPath("/run/app.sock"),)),
        ("unix:app.sock", (UnixPath("app.sock"),)),
        (["unix:/a,b", "a:1"], (UnixPath("/a,b"), A)),
        ("dns:///name:50051", (DnsName("name", 50051),)),
        ("dns:name:50051", (DnsName("name", 50051),)),
        ("dns:///a:1,b:2", (DnsName("a", 1), B)),
    ],
)
def test_a_target_is_read(target: Any, parts: tuple[object, ...]) -> None:
    assert parse_target(target).parts == parts


@pytest.mark.parametrize(
    "target",
    [
        "a:1,",
        ",a:1",
        "a:1;b:2",
        [""],
        [None],
        ["a:1,b:2"],
        "unix:",
        "unix://",
        "unix://host/path",
        "unix:/a\0b",
        "dns:",
        "dns:///",
        "dns:///name",
        "dns://8.8.8.8/name:50051",
        "ipv4:127.0.0.1:1",
    ],
)
def test_what_is_no_target_is_refused_with_the_forms_of_one(target: Any) -> None:
    form = "is no address; it has the form HOST:PORT, unix:PATH or dns:///NAME:PORT"
    with pytest.raises(InvalidArgument, match=form) as error:
        parse_target(target)
    assert error.value.field == "target"


@pytest.mark.parametrize("count", [0, MOST + 1])
def test_the_number_of_addresses_is_bounded(count: int) -> None:
    with pytest.raises(InvalidArgument, match=f"{count} addresses are given"):
        parse_target([f"a:{port}" for port in range(1, count + 1)])


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        ("a:1,b:2", "a:1"),
        ("[::1]:50051", "[::1]:50051"),
        ("unix:/run/app.sock", "localhost"),
        ("dns:///name:50051", "name:50051"),
    ],
)
def test_requests_name_the_first_server(target: str, authority: str) -> None:
    assert parse_target(target).authority == authority


@pytest.mark.parametrize("target", ["a:1", "a:1,b:2", "unix:/a", "dns:///a:1", "[::1]:5"])
def test_a_target_is_written_as_it_is_read(target: str) -> None:
    assert str(parse_target(target)) == target


def test_an_address_to_listen_on_may_be_a_path() -> None:
    assert unix_path("unix:/run/app.sock") == "/run/app.sock"
    assert unix_path("127.0.0.1") is None
    with pytest.raises(InvalidArgument):
        unix_path("unix:")


async def test_a_name_stands_for_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(host: str, port: int, **_: object) -> list[Any]:
        assert (host, port) == ("name", 7)
        kind = (socket.SOCK_STREAM, 6, "")
        return [
            (socket.AF_INET, *kind, ("10.0.0.1", 7)),
            (socket.AF_INET, *kind, ("10.0.0.2", 7)),
            (socket.AF_INET6, *kind, ("::1", 7, 0, 0)),
        ]

    # The name service is not this package's, and no name of a test machine has two addresses.
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
    found = await parse_target("dns:///name:7,10.0.0.2:7").addresses()
    assert found == (HostPort("10.0.0.1", 7), HostPort("10.0.0.2", 7), HostPort("::1", 7))


async def test_a_name_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(OSError, match="known"):
        await parse_target("dns:///nothing.invalid:7").addresses()


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
