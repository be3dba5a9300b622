"""What goes wrong with a real Ray, from its start to its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blazerpc_client import Unavailable
from tests.conftest import StartServer
from tests.integration.conftest import RAY_PROGRAM, blaze, on_ray
from tests.integration.ray_load import until
from tests.integration.ray_node import Node, directory, free_port, replicas
from tests.integration.test_ray import SMALL, client_of, where

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240), pytest.mark.usefixtures("ray_token")]

SLOW = "tests.apps.placed:slow"


#: In a process of its own, as of another user of the same Ray; its imports warn.
TAKEN = """
import logging
import sys
import ray
from ray import serve

ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
if sys.argv[2] == "all":
    serve.shutdown()
else:
    for name in serve.status().applications:
        serve.delete(name)
"""


@pytest.mark.parametrize("what", ["all", "applications"])
async def test_models_that_others_take_off_ray_are_deployed_again(
    start_server: StartServer, node: Node, what: str
) -> None:
    server = on_ray(start_server, SMALL, node)
    assert node.address is not None
    command = [sys.executable, "-W", "ignore", "-c", TAKEN, node.address, what]
    async with client_of(server) as client:
        before = await where(client)
        call = asyncio.create_task(where(client, 60.0))
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=100)
        with pytest.raises(Unavailable):
            await call
        await until(lambda: "Ray is back" in server.errors(), "the server notices")
        assert "has the models no more" in server.errors()
        assert await where(client) != before
    assert server.stop()[0] == 0
    await until(lambda: not replicas(node), "its replicas are gone")


async def test_a_stop_in_a_hurry_takes_the_replicas_along(
    start_server: StartServer, node: Node
) -> None:
    server = on_ray(start_server, SMALL, node, "--grace", "60")
    async with client_of(server) as client:
        await where(client)
        call = asyncio.create_task(where(client, 60.0))
        # Read by the server before the signal: it has the other call by then.
        await where(client)
        server.signal(signal.SIGINT)
        await until(lambda: "1 calls in flight" in server.errors(), "it waits for the call")
        server.signal(signal.SIGINT)
        with pytest.raises(Unavailable):
            await call
    code, errors = await asyncio.to_thread(server.wait)
    assert code == 0
    assert "was not left" not in errors
    await until(lambda: not replicas(node), "its replicas are gone")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_server_ends_when_its_ray_has_gone(start_server: StartServer, when: str) -> None:
    with directory() as path:
        node = Node(path, port=free_port())
        try:
            server = on_ray(start_server, SMALL, node)
            if when == "before":
                node.kill()
                await until(lambda: "has gone" in server.errors(), "the server notices")
            server.signal(signal.SIGTERM)
            await until(lambda: "stopping:" in server.errors(), "it stops")
        finally:
            node.kill()
        code, errors = await asyncio.to_thread(server.wait)
    assert code == 0
    assert "giving up" not in errors


@pytest.mark.parametrize("kept", [False, True])
async def test_a_ray_of_its_own_leaves_neither_a_token_nor_files_that_nobody_asked_for(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: bool
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with directory() as path:
        monkeypatch.setenv("RAY_TMPDIR" if kept else "TMPDIR", str(path))
        server = start_server(SMALL, "--engine", "ray", program=RAY_PROGRAM)
        where_logs_are = f"{'ray' if kept else 'ray-*'}/session_latest/logs/worker-*.out"
        assert list(path.glob(where_logs_are))
        async with client_of(server) as client:
            await where(client)
        assert (await asyncio.to_thread(server.stop))[0] == 0
        assert bool(list(path.glob(where_logs_are))) == kept
        assert kept or not list(path.iterdir())
    assert not (tmp_path / ".ray").exists()


def test_a_token_that_is_missing_is_told_in_one_line(
    node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert node.address is not None
    ray = ["--engine", "ray", "--ray-address", node.address]
    done = blaze("serve", SMALL, *ray, "--port", "0", warnings="ignore")
    assert done.returncode == 1
    assert "if it wants a token, set RAY_AUTH_MODE=token" in done.stderr.splitlines()[-1]


async def test_what_a_start_waits_for_is_in_the_log(start_server: StartServer, node: Node) -> None:
    server = on_ray(start_server, SLOW, node, "--ray-start-timeout", "100", listening=False)
    texts = (
        f"INFO blazerpc: connecting to Ray at {node.address}",
        "INFO blazerpc: waiting for models 'slow'",
        "WARNING blazerpc: model 'slow' has not started on Ray: ",
    )
    await until(lambda: all(text in server.errors() for text in texts), "the log says so")
    assert (await asyncio.to_thread(server.stop))[0] == 0


def test_a_start_that_takes_too_long_is_told_in_one_line(node: Node) -> None:
    assert node.address is not None
    ray = ["--engine", "ray", "--ray-address", node.address, "--ray-start-timeout", "1"]
    done = blaze("serve", SLOW, *ray, "--port", "0", warnings="ignore")
    assert done.returncode == 1
    assert "error: model 'slow' did not start in 1 s" in done.stderr.splitlines()[-1]


#: Replicas between two numbers, in a process of its own: Ray's imports warn of other things.
SCALING = """
import warnings
from blazerpc import BlazeApp, RayEngine, Resources
from blazerpc.engines.deployments import _application

app = BlazeApp()

@app.model("one", resources=Resources(replicas=(1, 4)))
def one(x: int) -> int:
    return x

warnings.simplefilter("error")
for delay in (0.5, 10, 300):
    _application(app.registry.get("one"), RayEngine(upscale_delay=delay))
"""


def test_ray_takes_what_is_said_of_scaling() -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCALING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


async def test_the_death_of_a_replica_is_one_line(start_server: StartServer, node: Node) -> None:
    server = on_ray(start_server, SMALL, node, "--log-format", "json")
    async with client_of(server) as client:
        victim = await where(client)
        calls = [asyncio.create_task(where(client, 60.0)) for _ in range(3)]
        await where(client)
        os.kill(victim, signal.SIGKILL)
        await until(lambda: any(call.done() for call in calls), "calls fail")
        ended = [call for call in calls if call.done()]
        # Those that were not in it yet wait for the next replica.
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        _, errors = await asyncio.to_thread(server.stop)
    assert {type(call.exception()) for call in ended} == {Unavailable}
    # Those of Ray's core, in C++, are no JSON.
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    warnings = [
        line["message"]
        for line in lines
        if line["level"] in {"WARNING", "ERROR"} and line["logger"] != "blazerpc.server"
    ]
    assert len(warnings) == 1, warnings
    assert "model 'where'" in warnings[0]
    assert "will not be considered" not in errors
