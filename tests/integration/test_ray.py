"""Models on a real Ray, called as everywhere else."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import pytest

from blazerpc.engines.replica import WINDOW
from blazerpc_client import (
    BlazeClient,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    Unavailable,
)
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import RAY_PROGRAM, blaze, on_ray
from tests.integration.ray_load import load, until
from tests.integration.ray_node import (
    HEAD,
    Node,
    actors,
    descendants,
    directory,
    free_port,
    replicas,
    running,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240), pytest.mark.usefixtures("ray_token")]

Floats = npt.NDArray[np.float32]

PLACED = "tests.apps.placed:app"
SMALL = "tests.apps.placed:small"
STREAMS = "tests.apps.placed:streams"
PAIR = "tests.apps.placed:pair"


@pytest.fixture(scope="module")
def placed(start_module_server: StartServer, node: Node) -> ServerProcess:
    return on_ray(start_module_server, PLACED, node)


@asynccontextmanager
async def client_of(
    server: ServerProcess, retry: Literal["idempotent"] | None = None
) -> AsyncIterator[BlazeClient]:
    async with BlazeClient("127.0.0.1", server.port, retry=retry) as client:
        yield client


async def where(client: BlazeClient, seconds: float = 0.0) -> int:
    """Return the process that answers, after a while."""
    return cast(int, await client.predict("where", seconds=seconds))


async def test_models_run_in_replicas_and_dependencies_at_the_front_door(
    placed: ServerProcess, node: Node
) -> None:
    async with client_of(placed) as client:
        x, door, process = cast(list[int], await client.predict("given", x=3))
    assert (x, door) == (3, placed.process.pid)
    assert process in replicas(node)


async def test_what_cannot_leave_the_front_door_fails_its_call_alone(
    placed: ServerProcess,
) -> None:
    async with client_of(placed) as client:
        with pytest.raises(Internal, match="error id"):
            await client.predict("locked", x=3)
        await until(lambda: "cannot pickle lock (lock)" in placed.errors(), "the log says why")
        assert "Could not serialize" not in placed.errors(), "which has the arguments"
        assert await where(client) > 0


async def test_large_arrays_come_back(placed: ServerProcess) -> None:
    x = np.arange(3 * 100_000, dtype=np.float32).reshape(3, -1)
    async with client_of(placed) as client:
        np.testing.assert_array_equal(await client.predict("twice", x=x), x * 2)
        empty = await client.predict("twice", x=np.empty((0, 7), np.float32))
    assert np.shape(cast(Floats, empty)) == (0, 7)


@pytest.mark.parametrize("model", ["each", "each-of-tuple"])
async def test_each_request_of_a_batch_has_its_own_answer(
    placed: ServerProcess, model: str
) -> None:
    async with client_of(placed) as client:
        calls = [client.predict(model, x=n - 5) for n in range(10)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers[:5]] == [Internal] * 5
    assert answers[5:] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("how", ["value", "unsendable", "stream"])
async def test_what_a_model_raises_is_in_the_log_and_not_in_the_answer(
    placed: ServerProcess, how: str
) -> None:
    async with client_of(placed) as client:
        stream = client.stream("breaks", count=0, inside=True)
        call = anext(aiter(stream)) if how == "stream" else client.predict("fails", how=how)
        with pytest.raises(Internal, match=r"error id [0-9a-f]{12}") as caught:
            await call
    found = re.search("error id ([0-9a-f]{12})", caught.value.message)
    assert found is not None
    assert "secret" not in caught.value.message
    await until(lambda: found[0] in placed.errors(), "the log has the id")
    log = placed.errors().partition(found[0])[2]
    assert "tests/apps/placed.py" in log
    assert ("UnsendableError" if how == "unsendable" else "ValueError: a secret") in log


async def test_a_status_that_a_model_raises_is_passed_on(placed: ServerProcess) -> None:
    async with client_of(placed) as client:
        with pytest.raises(FailedPrecondition, match="not today"):
            await client.predict("fails", how="status")
        stream = aiter(client.stream("breaks", count=3, inside=False))
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(DataLoss, match="no more"):
            await anext(stream)


async def test_a_stream_waits_for_its_reader_and_ends_with_it(
    placed: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "made"
    path.touch()
    size, most = 100_000, 100_000

    def made() -> int:
        return len(path.read_text().splitlines())

    async with client_of(placed) as client:
        stream = client.stream("counted", count=most, size=size, path=str(path))
        assert int.from_bytes(cast(bytes, await anext(stream))) == 0
        await until(lambda: made() >= WINDOW, "the model has made what it may")
        await asyncio.sleep(0.5)  # it may make more, which is what this is about
        # Those that the connection and the front door hold come on top.
        assert made() < 10 * WINDOW
        assert isinstance(stream, AsyncGenerator)
        await stream.aclose()
        await until(lambda: "closed" in path.read_text(), "the model's generator is closed")
        whole = client.stream("counted", count=500, size=4, path=str(path))
        numbers = [int.from_bytes(cast(bytes, item)) async for item in whole]
    assert numbers == list(range(500))


async def test_streams_go_on_when_the_actor_of_their_front_door_was_killed(
    start_server: StartServer, node: Node, tmp_path: Path
) -> None:
    before = set(actors(node, "Door"))
    server = on_ray(start_server, STREAMS, node)
    async with client_of(server) as client:
        stream = client.stream("counted", count=100_000, size=10_000, path=str(tmp_path / "a"))
        await anext(aiter(stream))
        for door in set(actors(node, "Door")) - before:
            os.kill(door, signal.SIGKILL)
        with pytest.raises(Unavailable):
            async for _ in stream:
                pass

        async def whole() -> int:
            path = str(tmp_path / "b")
            return len([x async for x in client.stream("counted", count=500, size=4, path=path)])

        counts: list[int] = []
        while not counts:
            with suppress(Unavailable):  # the actor is not back yet
                counts.append(await whole())
    assert counts == [500]
    assert server.stop()[0] == 0


#: In a process of its own, like the next: Ray's imports warn.
RELEASE = """
import of_graphs
from blazerpc import RayEngine
from blazerpc.engines.deployments import release_of

print(release_of([], RayEngine(app="of_graphs:app")))
"""


def release(directory: Path) -> str:
    command = [sys.executable, "-B", "-W", "ignore", "-c", RELEASE]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def test_an_app_of_other_source_is_another_release(tmp_path: Path) -> None:
    source = tmp_path / "of_graphs.py"
    source.write_text("# loads a graph\n")
    before = release(tmp_path)
    assert release(tmp_path) == before
    source.write_text("# loads another one\n")
    assert release(tmp_path) != before


#: Streams wait in a front door's actor, more than Ray runs there unless it is told.
WAITING = """
import logging
import sys
import ray
from blazerpc.engines.cluster import NAMESPACE
from blazerpc.engines.deployments import _door

ray.init(sys.argv[1], namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
door = _door("waiting")
ray.get([door.begin.remote(number) for number in range(1200)])
rooms = [door.room.remote(number, 64) for number in range(1200)]
ray.get(door.taken.remote(0, 32), timeout=60)
assert ray.get(rooms[0], timeout=60) == 96
"""


def test_readers_that_wait_do_not_keep_others_waiting(node: Node) -> None:
    assert node.address is not None
    command = [sys.executable, "-W", "ignore", "-c", WAITING, node.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_server_that_is_stopped_while_it_starts_leaves_nothing(
    start_server: StartServer, node: Node
) -> None:
    before = set(replicas(node))
    server = on_ray(start_server, "tests.apps.placed:slow", node, listening=False)
    await until(lambda: bool(set(replicas(node)) - before), "the replica is there")
    code, errors = await asyncio.to_thread(server.stop)
    assert code == 0
    assert "ERROR" not in errors
    await until(lambda: set(replicas(node)) <= before, "its replica is gone")


async def test_a_signal_ends_a_server_that_waits_for_what_is_no_ray(
    start_server: StartServer,
) -> None:
    with socket.create_server((HEAD, 0)) as mute:
        address = f"{HEAD}:{mute.getsockname()[1]}"
        options = ("--engine", "ray", "--ray-address", address)
        server = start_server(SMALL, *options, program=RAY_PROGRAM, listening=False)
        # The server looks whether anybody listens, and Ray connects.
        connections = [await asyncio.to_thread(mute.accept) for _ in range(2)]
        code, errors = await asyncio.to_thread(server.stop)
        for connection, _ in connections:
            connection.close()
    assert code == 0, errors


def test_gpus_that_a_machine_has_not_are_told_in_one_line() -> None:
    app = "tests.apps.placed:greedy"
    done = blaze("serve", app, "--engine", "ray", "--port", "0", warnings="ignore")
    assert done.returncode == 1
    assert "the models need 64 GPUs" in done.stderr.splitlines()[-1]


async def test_a_call_that_is_cancelled_frees_its_replica(
    placed: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "ends"
    path.touch()
    async with client_of(placed) as client:
        call = asyncio.create_task(client.predict("stuck", path=str(path), wait=True))
        await until(lambda: "begun" in path.read_text(), "the model has begun")
        call.cancel()
        await until(lambda: "cancelled" in path.read_text(), "the model was cancelled")
        with pytest.raises(DeadlineExceeded):
            await client.with_options(timeout=0.5).predict("stuck", path=str(path), wait=True)
        # Its one slot is free.
        assert await client.predict("stuck", path=str(path), wait=False) == "free"


@pytest.mark.parametrize("retry", [None, "idempotent"])
async def test_a_replica_that_dies_fails_only_the_calls_in_it(
    placed: ServerProcess, node: Node, retry: Literal["idempotent"] | None
) -> None:
    async with client_of(placed, retry) as client, load(partial(where, client)) as found:
        await until(lambda: len(set(found.answers)) == 2, "both replicas answer")
        before = set(found.answers)
        victim = found.answers[-1]
        os.kill(victim, signal.SIGKILL)
        found.answers.clear()
        await until(lambda: bool(set(found.answers) - before), "there is a new replica")
    if retry is None:
        # As many as were in it, at most.
        assert 1 <= found.failures <= 8
    else:
        assert found.failures == 0
    assert set(found.answers) <= set(replicas(node)) | {victim}


async def test_front_doors_share_replicas_and_the_last_takes_them_along(
    start_server: StartServer, node: Node
) -> None:
    before = set(replicas(node))
    first = on_ray(start_server, SMALL, node, "--ray-release", "shared", "--workers", "2")
    ours = set(replicas(node)) - before
    second = on_ray(start_server, SMALL, node, "--ray-release", "shared")
    assert set(replicas(node)) - before == ours
    assert first.stop()[0] == 0
    async with client_of(second) as client:
        assert await where(client) in ours
    assert second.stop()[0] == 0
    await until(lambda: not ours & set(replicas(node)), "its replicas are gone")
    assert before <= set(replicas(node))


async def test_a_new_release_takes_over_without_a_failed_call(
    start_server: StartServer, node: Node
) -> None:
    old = on_ray(start_server, SMALL, node, "--ray-release", "old")
    ended = asyncio.Event()
    target = [old]
    answers: dict[str, set[int]] = {old.target: set()}

    async def caller() -> None:
        while not ended.is_set():
            server = target[-1]
            async with client_of(server) as client:
                answers.setdefault(server.target, set()).add(await where(client, 0.02))

    callers = [asyncio.create_task(caller()) for _ in range(10)]
    new = await asyncio.to_thread(on_ray, start_server, SMALL, node, "--ray-release", "new")
    target.append(new)
    await until(lambda: len(answers.get(new.target, ())) > 0, "the new release answers")
    code, _ = await asyncio.to_thread(old.stop)
    await asyncio.sleep(0)
    ended.set()
    await asyncio.gather(*callers)
    assert code == 0
    assert not answers[old.target] & answers[new.target]


async def test_replicas_come_and_go_with_the_load(start_server: StartServer, node: Node) -> None:
    assert node.address is not None
    program = ("-W", "ignore", "-m", "tests.apps.scaling")
    server = start_server("", node.address, program=program)
    async with client_of(server) as client:
        first = await where(client)
        async with load(partial(where, client)) as found:
            await until(lambda: len(set(found.answers)) == 2, "there is a second replica")
        answers = set(found.answers)
        await until(lambda: len(running(answers)) == 1, "one of them has gone")
        assert await where(client) in running(answers)
    assert first in answers
    assert found.failures == 0
    assert server.stop()[0] == 0
    await until(lambda: not running(answers), "the last has gone, too")


async def test_a_node_that_is_lost_fails_only_the_calls_in_it(start_server: StartServer) -> None:
    with directory() as path:
        nodes = [Node(path, port=free_port())]
        try:
            nodes.append(Node(path, join=nodes[0].address))
            head, other = nodes
            server = on_ray(start_server, PAIR, head)
            async with client_of(server) as client, load(partial(where, client)) as found:
                await until(
                    lambda: (
                        set(found.answers) == {*replicas(head), *replicas(other)}
                        and len(replicas(other)) == 1
                    ),
                    "a replica of each node answers",
                )
                before = set(found.answers)
                other.kill()
                found.answers.clear()
                await until(lambda: bool(set(found.answers) - before), "there is a new replica")
            assert 1 <= found.failures <= 8
            assert server.stop()[0] == 0
        finally:
            for each in nodes:
                each.kill()


async def test_a_ray_of_its_own_ends_with_the_server(start_server: StartServer) -> None:
    server = start_server(SMALL, "--engine", "ray", program=RAY_PROGRAM)
    processes = set(descendants(server.process.pid))
    async with client_of(server) as client:
        assert await where(client) in processes
    assert server.stop()[0] == 0
    await until(lambda: not running(processes), "all of it has ended")


def test_a_model_that_cannot_start_is_told_in_one_line(node: Node) -> None:
    assert node.address is not None
    ray = ["--engine", "ray", "--ray-address", node.address]
    done = blaze("serve", "tests.apps.placed:broken", *ray, "--port", "0", warnings="ignore")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: model 'broken' does not start on Ray: ")
    assert "no such weights" in done.stderr.splitlines()[-1]


def test_a_model_that_takes_its_context_is_told_in_one_line() -> None:
    done = blaze(
        "serve", "tests.apps.placed:bound", "--engine", "ray", "--port", "0", warnings="ignore"
    )
    assert done.returncode == 1
    assert "model 'bound' takes the Context of its call" in done.stderr.splitlines()[-1]


def test_an_address_without_a_ray_is_told_in_one_line() -> None:
    ray = ["--engine", "ray", "--ray-address", f"127.0.0.1:{free_port()}"]
    done = blaze("serve", SMALL, *ray, "--port", "0", warnings="ignore")
    assert done.returncode == 1
    assert "start one with ray start --head" in done.stderr.splitlines()[-1]


async def test_ray_goes_and_comes_back(start_server: StartServer) -> None:
    port = free_port()
    with directory() as path, directory() as other:
        node = Node(path, port=port)
        try:
            server = on_ray(start_server, SMALL, node)
            async with client_of(server) as client:
                call = asyncio.create_task(where(client, 60.0))
                assert await where(client) in replicas(node)
                node.kill()
                with pytest.raises(Unavailable):
                    await call
                with pytest.raises(Unavailable, match="Ray is not there"):
                    await where(client)
                assert not healthy(server)
                node = Node(other, port=port)
                await until(lambda: healthy(server), "the server is back")
                assert await where(client) in replicas(node)
        finally:
            node.kill()


def healthy(server: ServerProcess) -> bool:
    return blaze("health", server.target).returncode == 0
