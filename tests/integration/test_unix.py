"""Servers and clients on UNIX sockets."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from blazerpc_client import Backoff, BlazeClient, CallOptions, InvalidArgument, Unavailable
from tests.conftest import StartServer
from tests.integration.conftest import blaze, logged
from tests.integration.reach import Peer, channel, pid_of, say

APP = "tests.apps.workers:app"

#: Servers that come back are found within a moment.
SOON = Backoff(initial=0.05, maximum=0.1)


@pytest.fixture
def path() -> Iterator[Path]:
    # Not below tmp_path: the path of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "app.sock"


def a_client(path: Path) -> BlazeClient:
    return BlazeClient(target=f"unix:{path}", backoff=SOON)


async def test_a_server_listens_at_a_path_and_removes_it(
    path: Path, start_server: StartServer
) -> None:
    server = start_server(APP, "--host", f"unix:{path}")
    assert server.target == f"unix:{path}"
    async with a_client(path) as client, BlazeClient(target=f"unix://{path}") as other:
        assert await client.predict("pid") == await other.predict("pid") == server.process.pid
    code, errors = await asyncio.to_thread(server.stop)
    assert code == 0
    assert f"listening on unix:{path}" in errors
    assert re.search(r"PredictPid OK .* unix\b", errors)
    assert not path.exists()
    async with a_client(path) as client:
        with pytest.raises(Unavailable, match=f"^cannot reach unix:{path}: .*No such file"):
            await client.predict("pid")


async def test_calls_in_flight_end_after_the_file_is_gone(
    path: Path, start_server: StartServer
) -> None:
    server = start_server(APP, "--host", f"unix:{path}", "--grace", "40")
    done = path.with_name("done")
    async with a_client(path) as client:
        call = asyncio.create_task(client.predict("hold", until=str(done)))
        await logged(server, "is holding")
        server.signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            while path.exists():
                await asyncio.sleep(0.01)
        done.touch()
        assert await call == server.process.pid


async def test_workers_share_a_path(path: Path, start_server: StartServer) -> None:
    server = start_server(APP, "--host", f"unix:{path}", "--workers", "2")
    pids: set[object] = set()
    async with asyncio.timeout(40):
        while len(pids) < 2:
            async with a_client(path) as one, a_client(path) as other:
                pids |= set(await asyncio.gather(*(c.predict("pid") for c in (one, other))))
    # A worker that ends leaves the file to the others, and to the next.
    async with a_client(path) as client:
        with pytest.raises(Unavailable):
            await client.predict("end", code=3)
        async with asyncio.timeout(40):
            found: set[object] = set()
            while not found - pids:
                async with a_client(path) as another:
                    found.add(await another.predict("pid"))
    code, _ = await asyncio.to_thread(server.stop)
    assert code == 0
    assert not path.exists()


async def test_the_file_of_a_server_that_was_killed_is_no_obstacle(
    path: Path, start_server: StartServer
) -> None:
    killed = start_server(APP, "--host", f"unix:{path}")
    killed.signal(signal.SIGKILL)
    killed.wait()
    assert path.exists()
    server = start_server(APP, "--host", f"unix:{path}")
    async with a_client(path) as client:
        assert await client.predict("pid") == server.process.pid


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["alone", "workers"])
async def test_a_path_that_is_taken_is_told_and_left_alone(
    path: Path, start_server: StartServer, options: list[str]
) -> None:
    server = start_server(APP, "--host", f"unix:{path}")
    done = await asyncio.to_thread(blaze, "serve", APP, "--host", f"unix:{path}", *options)
    assert done.returncode == 1
    assert done.stderr == f"error: cannot listen on unix:{path}: Address already in use\n"
    async with a_client(path) as client:
        assert await client.predict("pid") == server.process.pid


def test_a_path_that_is_none_is_told() -> None:
    done = blaze("serve", APP, "--host", "unix:")
    assert (done.returncode, done.stderr) == (
        2,
        "error: host is 'unix:'; a UNIX socket is unix:PATH\n",
    )


async def test_a_client_waits_for_the_file(path: Path, start_server: StartServer) -> None:
    async with a_client(path) as client:
        patient = client.with_options(timeout=40, wait_for_ready=True)
        call = asyncio.create_task(patient.predict("pid"))
        with pytest.raises(Unavailable):
            await client.predict("pid")
        server = await asyncio.to_thread(start_server, APP, "--host", f"unix:{path}")
        assert await call == server.process.pid


def test_a_path_that_is_too_long_is_told() -> None:
    async def call() -> None:
        async with BlazeClient(target=f"unix:/{'x' * 200}") as client:
            await client.predict("pid")

    with pytest.raises(Unavailable, match="too long"):
        asyncio.run(call())


def test_the_command_line_takes_the_path(path: Path, start_server: StartServer) -> None:
    server = start_server(APP, "--host", f"unix:{path}")
    target = f"unix:{path}"
    health = blaze("health", target)
    assert (health.returncode, health.stdout) == (0, "SERVING\n")
    called = blaze("call", target, "pid")
    assert (called.returncode, called.stdout) == (0, f"{server.process.pid}\n")
    inspected = blaze("inspect", target, "--json")
    assert json.loads(inspected.stdout)["target"] == target
    directory = path.parent / "client"
    written = blaze("client", "gen", "--from", target, "--out", str(directory))
    assert written.returncode == 0, written.stderr
    assert os.listdir(directory) == ["inference_client"]
    checked = blaze("client", "check", "--from", target, str(directory / "inference_client"))
    assert (checked.returncode, checked.stdout) == (0, "same\n")


async def test_a_server_of_another_kind_at_a_path(path: Path) -> None:
    peer = Peer(f"unix:{path}")
    try:
        async with channel(f"unix:{path}") as made:
            assert (await say(made, CallOptions(timeout=40)))["pid"] == pid_of(peer)
    finally:
        peer.kill()


async def test_a_relative_path_may_be_given(path: Path, start_server: StartServer) -> None:
    server = start_server(APP, "--host", f"unix:{os.path.relpath(path, Path.cwd())}")
    async with a_client(path) as client:
        assert await client.predict("pid") == server.process.pid
    with pytest.raises(InvalidArgument):
        BlazeClient(target=f"unix://{os.path.relpath(path)}")
