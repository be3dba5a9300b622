"""Streams of the Open Inference Protocol, called with Triton's own client."""

from __future__ import annotations

import asyncio
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import logged
from tests.integration.oip import APP, inputs, result


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server(APP)


class Responses:
    """What a stream of Triton's client has brought."""

    def __init__(self) -> None:
        self._queue: queue.Queue[tuple[Any, InferenceServerException | None]] = queue.Queue()

    def __call__(self, result: Any, error: InferenceServerException | None) -> None:
        self._queue.put((result, error))

    def next(self) -> tuple[list[Any] | None, bool, str]:
        """Return the values of the next response, whether it is the last, and its id."""
        answer, error = self._queue.get(timeout=20)
        assert error is None
        response = answer.get_response()
        values = answer.as_numpy("result")
        final = response.parameters["triton_final_response"].bool_param
        return None if values is None else values.tolist(), final, response.id

    def error(self) -> str:
        _, error = self._queue.get(timeout=20)
        assert error is not None
        return str(error.message())


@contextmanager
def streaming(server: ServerProcess) -> Iterator[tuple[triton.InferenceServerClient, Responses]]:
    responses = Responses()
    with triton.InferenceServerClient(server.target) as client:
        client.start_stream(responses)
        yield client, responses
        client.stop_stream(cancel_requests=True)


def test_a_stream_of_results(server: ServerProcess) -> None:
    with streaming(server) as (client, responses):
        client.async_stream_infer(
            "count", inputs(to=3), request_id="7", enable_empty_final_response=True
        )
        assert [responses.next() for _ in range(4)] == [
            ([0], False, "7"),
            ([1], False, "7"),
            ([2], False, "7"),
            (None, True, "7"),
        ]
        # Without the empty response, the next request's is next.
        client.async_stream_infer("count", inputs(to=1), request_id="8")
        client.async_stream_infer("greet", inputs(name="you"), request_id="9")
        assert [responses.next() for _ in range(2)] == [
            ([0], False, "8"),
            ([b"hello you"], True, "9"),
        ]
        client.async_stream_infer("growing", inputs(to=3))
        assert [responses.next()[0] for _ in range(3)] == [[], [0], [0, 1]]


def test_a_request_of_a_stream_that_fails_leaves_the_others(server: ServerProcess) -> None:
    with streaming(server) as (client, responses):
        client.async_stream_infer("count", inputs(wrong=3))
        text = "INVALID_ARGUMENT: wrong: no such input; there are: to, fail_at"
        assert responses.error() == text
        client.async_stream_infer("no", [])
        assert responses.error() == "NOT_FOUND: no model 'no'"
        client.async_stream_infer("count", inputs(to=3, fail_at=1))
        assert responses.next()[0] == [0]
        assert responses.error().startswith("INTERNAL: model 'count' failed; error id ")
        client.async_stream_infer("greet", inputs(name="you"))
        assert responses.next()[0] == [b"hello you"]


async def test_a_stream_that_is_cancelled_ends_its_generator(server: ServerProcess) -> None:
    async def requests() -> Any:
        yield {"model_name": "forever", "inputs": inputs(name="cancelled")}
        await asyncio.Event().wait()

    async with triton_aio.InferenceServerClient(server.target) as client:
        answers = client.stream_infer(requests())
        async for answer, error in answers:
            assert error is None
            assert result(answer).tolist() == [b"cancelled"]
            break
        answers.cancel()
    await logged(server, "left cancelled")


async def test_a_stream_that_waits_ends_when_the_server_stops(start_server: StartServer) -> None:
    server = start_server(APP, "--grace", "50")
    with streaming(server) as (client, responses):
        client.async_stream_infer("greet", inputs(name="you"))
        assert responses.next()[0] == [b"hello you"]
        # The grace period is for those that run: this one only waits.
        code, errors = await asyncio.to_thread(server.stop)
        assert code == 0, errors
        assert "cancelling" not in errors
        assert responses.error() == "the server is stopping"


async def test_a_request_of_a_stream_is_finished_when_the_server_stops(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(APP, "--grace", "50")
    until = tmp_path / "until"
    with streaming(server) as (client, responses):
        client.async_stream_infer("hold", inputs(until=str(until)))
        await logged(server, "holding")
        server.signal(signal.SIGTERM)
        await logged(server, "stopping: 1 calls in flight")
        until.touch()
        assert responses.next()[0] == [b"released"]
        assert responses.error() == "the server is stopping"
    code, errors = await asyncio.to_thread(server.wait)
    assert code == 0, errors
