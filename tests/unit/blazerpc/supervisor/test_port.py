from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from blazerpc import ConfigurationError
from blazerpc.supervisor.port import SharedPort, can_share

HOST = "127.0.0.1"


@pytest.fixture(params=[False, True], ids=["shared", "inherited"])
def port(request: pytest.FixtureRequest) -> Iterator[SharedPort]:
    if not request.param and not can_share():
        pytest.skip("processes cannot share a port here")
    with closing(SharedPort(HOST, 0, inherit=request.param)) as held:
        yield held


def listening(port: int) -> socket.socket:
    """Listen on a shared port, as a worker does."""
    return socket.create_server((HOST, port), reuse_port=True)


def test_it_is_held_and_refuses_connections_while_nobody_listens(port: SharedPort) -> None:
    assert port.number > 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port.number), timeout=1)


@pytest.mark.parametrize("inherit", [False, True])
def test_another_supervisor_cannot_have_it(port: SharedPort, inherit: bool) -> None:
    told = rf"^cannot listen on {HOST}:{port.number}: .*in use"
    with pytest.raises(ConfigurationError, match=told):
        SharedPort(HOST, port.number, inherit=inherit)


def test_a_server_alone_cannot_have_it(port: SharedPort) -> None:
    with pytest.raises(OSError, match="in use"):
        socket.create_server((HOST, port.number))


def test_it_is_free_when_it_is_closed(port: SharedPort) -> None:
    port.close()
    with closing(SharedPort(HOST, port.number)) as again:
        assert again.number == port.number


@pytest.mark.skipif(not can_share(), reason="processes cannot share a port here")
def test_workers_share_it_and_another_supervisor_still_cannot() -> None:
    with closing(SharedPort(HOST, 0, inherit=False)) as port:
        assert port.listener is None
        with listening(port.number), listening(port.number):
            socket.create_connection((HOST, port.number), timeout=1).close()
            with pytest.raises(ConfigurationError, match="in use"):
                SharedPort(HOST, port.number, inherit=False)


def test_an_inherited_socket_is_the_one_that_is_bound() -> None:
    with closing(SharedPort(HOST, 0, inherit=True)) as port:
        assert port.listener is not None
        with socket.socket(fileno=socket.dup(port.listener)) as theirs:
            assert theirs.getsockname() == (HOST, port.number)
            theirs.listen()
            socket.create_connection((HOST, port.number), timeout=1).close()


def test_a_host_that_is_none_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"^cannot listen on no\.such\.invalid:0: "):
        SharedPort("no.such.invalid", 0)
