"""Faces of a server whose models run on Ray: HTTP, OIP, metrics, and generated clients."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, cast

import httpx
import numpy as np
import pytest

from blazerpc_client import BlazeClient, Unavailable
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import generated, http_of, on_ray
from tests.integration.ray_load import load, until
from tests.integration.ray_node import Node, replicas
from tests.integration.test_http import events
from tests.integration.test_observability import Scrape

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240), pytest.mark.usefixtures("ray_token")]


@pytest.fixture(scope="module")
def placed(start_module_server: StartServer, node: Node) -> ServerProcess:
    faces = ("--http-port", "0", "--metrics-port", "0")
    return on_ray(start_module_server, "tests.apps.placed:app", node, *faces)


@pytest.fixture(scope="module")
def url(placed: ServerProcess) -> str:
    return f"http://{http_of(placed)}"


def posted(url: str, body: object) -> httpx.Response:
    return httpx.post(url, json=body, timeout=60)


def test_a_prediction_over_http_is_made_in_a_replica(
    placed: ServerProcess, url: str, node: Node
) -> None:
    answer = posted(f"{url}/v1/models/given:predict", {"x": 3})
    assert answer.status_code == 200, answer.text
    x, door, process = map(int, answer.json()["result"])
    assert (x, door) == (3, placed.process.pid)
    assert process in replicas(node)
    failed = posted(f"{url}/v1/models/fails:predict", {"how": "status"})
    assert failed.json() == {"error": "not today", "status": "FAILED_PRECONDITION"}


def test_a_stream_over_http_is_one_of_events(url: str) -> None:
    answer = posted(f"{url}/v1/models/breaks:predict", {"count": 3, "inside": False})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events(answer.text) == [
        *[("message", {"result": str(number)}) for number in range(3)],
        ("error", {"error": "no more", "status": "DATA_LOSS"}),
        ("end", {}),
    ]


def test_the_open_inference_protocol_over_http(url: str) -> None:
    x = np.array([[1.5, -2.0], [0.0, 3.0]], np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.tolist()}
    answer = posted(f"{url}/v2/models/twice/infer", {"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    assert output["shape"] == [2, 2]
    assert np.reshape(output["data"], x.shape).tolist() == (x * 2).tolist()


async def test_metrics_of_models_are_counted_at_the_front_door(placed: ServerProcess) -> None:
    before = Scrape(placed)
    async with BlazeClient("127.0.0.1", placed.port) as client:
        await asyncio.gather(*[client.predict("each", x=number) for number in range(10)])
        await client.predict("where", seconds=0.3)
    after = Scrape(placed)

    def more(name: str, model: str) -> float:
        name = f"blazerpc_{name}"
        return after.value(name, model=model) - before.value(name, model=model)

    assert more("queue_wait_seconds_count", "each") == 10
    assert more("batch_size_sum", "each") == 10
    assert 1 <= more("batch_size_count", "each") < 10
    assert more("model_duration_seconds_count", "each") == more("batch_size_count", "each")
    assert more("model_duration_seconds_sum", "where") >= 0.3


async def test_a_stream_whose_replica_dies_is_unavailable_and_the_next_one_is_whole(
    start_server: StartServer, node: Node, tmp_path: Path
) -> None:
    before = set(replicas(node))
    server = on_ray(start_server, "tests.apps.placed:streams", node)
    (replica,) = set(replicas(node)) - before
    async with BlazeClient("127.0.0.1", server.port) as client:

        async def read(count: int, taken: list[int]) -> None:
            path = str(tmp_path / "made")
            async for item in client.stream("counted", count=count, size=4, path=path):
                taken.append(int.from_bytes(cast(bytes, item)))
                if len(taken) == 100:
                    halfway.set()

        halfway = asyncio.Event()
        first: list[int] = []
        reading = asyncio.create_task(read(100_000, first))
        await halfway.wait()
        os.kill(replica, signal.SIGKILL)
        with pytest.raises(Unavailable, match="the replica of model 'counted' has gone"):
            await reading
        assert first == list(range(len(first)))
        second: list[int] = []
        while not second:
            with suppress(Unavailable):  # Ray does not know yet
                await read(500, second)
    assert second == list(range(500))
    assert server.stop()[0] == 0


@pytest.mark.parametrize("retry", [None, "idempotent"])
async def test_a_generated_client_calls_again_when_a_replica_dies(
    placed: ServerProcess, tmp_path: Path, retry: Literal["idempotent"] | None
) -> None:
    package: Any = generated(placed, tmp_path, f"placed_{retry}_client".lower())

    async with package.InferenceClient(placed.target, retry=retry) as client:

        async def where(seconds: float) -> int:
            return cast(int, await client.predict_where(seconds=seconds))

        async with load(where) as found:
            await until(lambda: len(set(found.answers)) == 2, "both replicas answer")
            before = set(found.answers)
            os.kill(found.answers[-1], signal.SIGKILL)
            found.answers.clear()
            await until(lambda: bool(set(found.answers) - before), "there is a new replica")
    assert (found.failures == 0) == (retry is not None)
