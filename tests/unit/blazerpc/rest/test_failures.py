"""What somebody is told over HTTP who asks for what there is not, or in a way that there is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from blazerpc import BlazeApp, ServeOptions
from blazerpc_client.transport.limits import Limits
from tests.unit.blazerpc.support import running

app = BlazeApp()


@app.model("half")
def half(number: float) -> float:
    return number / 2


@app.model("old", version="7")
def old(number: float) -> float:
    return number


@app.model("slow")
async def slow(number: float) -> float:
    await asyncio.sleep(60)
    return number


@app.model("words", version="3")
def words(text: str) -> Iterator[str]:
    yield from text.split()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    options = ServeOptions(port=0, http_port=0, limits=Limits(max_receive_message=1000))
    server = app.server(options)
    async with running(server):
        url = f"http://127.0.0.1:{server.face_port}"
        async with httpx.AsyncClient(base_url=url) as client:
            yield client


async def told(client: httpx.AsyncClient, path: str, body: object = None) -> tuple[int, str, str]:
    answer = await client.post(path, json={} if body is None else body)
    failure = answer.json()
    return answer.status_code, failure["status"], failure["error"]


@pytest.mark.parametrize(
    ("v1", "v2", "text"),
    [
        ("nope", "nope", "no model 'nope'"),
        ("n" * 500, "n" * 500, f"no model '{'n' * 80}'"),
        ("a%0Ab", "a%0Ab", "no model 'a\\nb'"),
        ("half/versions/2", "half/versions/2", "model 'half' has no version '2'; there are: 1"),
        ("old", "old/versions/1", "model 'old' has no version '1'; there are: 7"),
    ],
)
async def test_a_model_that_there_is_not_is_named(
    client: httpx.AsyncClient, v1: str, v2: str, text: str
) -> None:
    assert await told(client, f"/v1/models/{v1}:predict") == (404, "NOT_FOUND", text)
    assert await told(client, f"/v2/models/{v2}/infer") == (404, "NOT_FOUND", text)


async def test_a_path_that_there_is_not_is_no_model(client: httpx.AsyncClient) -> None:
    for path in ("/v1/models/half", "/v1/models/half/x:predict", "/v3"):
        assert await told(client, path) == (404, "NOT_FOUND", "no such path")


async def test_the_method_that_a_path_takes_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/models/half:predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": "the path takes POST", "status": "UNIMPLEMENTED"}
    answer = await client.post("/v2")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
    assert answer.json()["error"] == "the path takes GET, HEAD"


async def test_a_body_that_is_too_large_is_not_to_be_sent_again(client: httpx.AsyncClient) -> None:
    large = {"number": "1" * 1000}
    for path in ("/v1/models/half:predict", "/v2/models/half/infer"):
        answer = await client.post(path, json=large)
        assert answer.status_code == 413
        assert answer.json()["status"] == "RESOURCE_EXHAUSTED"
        assert "retry-after" not in answer.headers


async def test_a_stream_is_not_for_infer_and_it_is_told_what_is(client: httpx.AsyncClient) -> None:
    code, status, text = await told(client, "/v2/models/words/infer", {"inputs": []})
    assert (code, status) == (501, "UNIMPLEMENTED")
    path = text.rpartition(" over HTTP ")[2]
    answer = await client.post(path, json={"text": "one"})
    assert answer.text == 'data: {"result":"one"}\n\nevent: end\ndata: {}\n\n'


async def test_shared_memory_is_named(client: httpx.AsyncClient) -> None:
    shared = {"shared_memory_region": "region", "shared_memory_byte_size": 4}
    tensor: dict[str, object] = {"name": "number", "datatype": "FP32", "shape": [1]}
    expected = (400, "INVALID_ARGUMENT", "number: shared memory is not supported")
    body: dict[str, object] = {"inputs": [{**tensor, "parameters": shared}]}
    assert await told(client, "/v2/models/half/infer", body) == expected
    outputs = [{"name": "result", "parameters": shared}]
    body = {"inputs": [{**tensor, "data": [1.0]}], "outputs": outputs}
    expected = (400, "INVALID_ARGUMENT", "result: shared memory is not supported")
    assert await told(client, "/v2/models/half/infer", body) == expected


async def test_a_deadline_is_spelled_as_elsewhere(client: httpx.AsyncClient) -> None:
    headers = {"grpc-timeout": "50m"}
    answer = await client.post("/v1/models/slow:predict", json={"number": 1}, headers=headers)
    failure = {"error": "deadline exceeded", "status": "DEADLINE_EXCEEDED"}
    assert (answer.status_code, answer.json()) == (504, failure)


async def test_json_is_compact_and_has_the_id_that_was_given(client: httpx.AsyncClient) -> None:
    tensor = {"name": "number", "datatype": "FP32", "shape": [1], "data": [3]}
    answer = await client.post("/v2/models/half/infer", json={"inputs": [tensor]})
    output = '{"name":"result","datatype":"FP32","shape":[1],"data":[1.5]}'
    rest = f'"outputs":[{output}]}}'
    assert answer.text == f'{{"model_name":"half","model_version":"1",{rest}'
    answer = await client.post("/v2/models/half/infer", json={"id": "7", "inputs": [tensor]})
    assert answer.text == f'{{"model_name":"half","model_version":"1","id":"7",{rest}'
    answer = await client.post("/v1/models/half:predict", json={"number": 3})
    assert answer.text == '{"result":1.5}'
