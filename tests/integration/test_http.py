"""The models over HTTP: protobuf's JSON, events, the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate

from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import blaze, http_of, logged
from tests.integration.oip import APP


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server(APP, "--http-port", "0")


@pytest.fixture(scope="module")
def url(server: ServerProcess) -> str:
    return f"http://{http_of(server)}"


@pytest.fixture(scope="module")
def rows(start_module_server: StartServer) -> str:
    return f"http://{http_of(start_module_server('tests.apps.rows:app', '--http-port', '0'))}"


def predicted(url: str, model: str, body: object) -> tuple[int, Any]:
    answer = httpx.post(f"{url}/v1/models/{model}:predict", json=body)
    return answer.status_code, answer.json()


def test_every_kind_of_value_has_its_json(url: str) -> None:
    assert predicted(url, "greet", {"name": "you"}) == (200, {"result": "hello you"})
    assert predicted(url, "greet/versions/2", {"name": "you"}) == (200, {"result": "good day you"})
    assert predicted(url, "only/versions/7", {"name": "you"}) == (200, {"result": "you"})
    assert predicted(url, "nested", {"point": {"x": 0}}) == (200, {"result": 0.0})
    assert predicted(url, "table", {"x": 3}) == (200, {"result": {"x": "3"}})
    assert predicted(url, "when", {"at": "2024-01-01T00:00:00Z"}) == (200, {"result": "2024"})
    assert predicted(url, "raws", {"values": ["AAE="]}) == (200, {"result": ["AAE="]})


def test_tensors_are_messages_of_base64(url: str) -> None:
    array = {"shape": ["1", "2"], "dtype": "float", "data": "AACAPwAAAEA="}
    assert predicted(url, "back-float32", {"x": array}) == (200, {"result": array})


@pytest.mark.parametrize(
    ("model", "body", "text"),
    [
        ("greet", {"wrong": 1}, "no field 'wrong'; there are: name"),
        ("greet", {"name": 1}, "name: expected str, got int"),
        ("back-float32", {}, "x: missing"),
        (
            "back-float32",
            {"x": {"shape": [1, 2], "dtype": "double", "data": ""}},
            "x: shape (1, 2) of float64 takes 16 bytes, got 0",
        ),
        ("defaults", {"mode": "c"}, "mode: expected one of 'a', 'b', got 'c'"),
        ("count", {"to": "many"}, "to: expected int, got 'many'"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(
    url: str, model: str, body: object, text: str
) -> None:
    status, answer = predicted(url, model, body)
    assert status == 400
    assert answer["status"] == "INVALID_ARGUMENT"
    assert text in answer["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        "{}".encode("utf-16"),
        b'{"name": "\\ud800"}',
        b'{"\\uD800": 1}',
        b'{"id": "\\ud800", "inputs": []}',
        b'{"inputs": [{"name": "\\udc00", "datatype": "FP32", "shape": [1], "data": [1]}]}',
        b'{"inputs": [], "outputs": [{"name": "\\ud800"}]}',
        b"[" * 100_000,
        b"null",
    ],
)
@pytest.mark.parametrize("path", ["/v1/models/greet:predict", "/v2/models/greet/infer"])
def test_what_is_no_json_object_is_refused(url: str, body: bytes, path: str) -> None:
    answer = httpx.post(url + path, content=body)
    assert answer.status_code == 400
    assert answer.json()["status"] == "INVALID_ARGUMENT"


def test_numbers_that_no_float_holds_are_refused(url: str) -> None:
    for body in ({"bias": 10**400}, {"bias": -(10**400)}):
        status, answer = predicted(url, "defaults", body)
        assert (status, answer["status"]) == (400, "INVALID_ARGUMENT")


def test_text_beyond_16_bits_is_text(url: str) -> None:
    answer = httpx.post(f"{url}/v1/models/greet:predict", content=b'{"name": "\\ud83d\\ude00"}')
    assert answer.json() == {"result": "hello \U0001f600"}


def test_statuses_are_those_of_http(url: str) -> None:
    status, answer = predicted(url, "fail", {"how": "raise"})
    assert (status, answer["status"]) == (500, "INTERNAL")
    assert answer["error"].startswith("model 'fail' failed; error id ")
    answers = {
        404: httpx.post(f"{url}/v1/models/no:predict", json={}),
        405: httpx.get(f"{url}/v1/models/greet:predict"),
        413: httpx.post(f"{url}/v1/models/greet:predict", content=bytes((4 << 20) + 1)),
    }
    for expected, refused in answers.items():
        assert refused.status_code == expected
        assert set(refused.json()) == {"error", "status"}


def test_a_call_ends_with_its_time(url: str, tmp_path: Path) -> None:
    def held(timeout: str) -> httpx.Response:
        body = {"until": str(tmp_path / "never")}
        headers = {"grpc-timeout": timeout}
        return httpx.post(f"{url}/v1/models/hold:predict", json=body, headers=headers)

    assert held("100m").status_code == 504
    # Its slot is free again.
    assert held("100m").status_code == 504
    for wrong in ("soon", "-1S", "1" * 9 + "S", "1" * 400 + "H"):
        assert held(wrong).status_code == 400


def test_a_compressed_request_is_refused(url: str) -> None:
    headers = {"content-encoding": "gzip"}
    answer = httpx.post(f"{url}/v1/models/greet:predict", content=b"{}", headers=headers)
    assert answer.status_code == 501
    assert answer.json()["error"] == "requests cannot be compressed"


def test_headers_are_metadata(url: str) -> None:
    answer = httpx.post(
        f"{url}/v1/models/who:predict", json={"name": "you"}, headers={"X-Caller": "I"}
    )
    text = "'I' calls /blazerpc.InferenceService/PredictWho"
    assert answer.json() == {"result": text}
    bad = {"x-caller": "I", "x-bin": "abcde"}
    answer = httpx.post(f"{url}/v1/models/who:predict", json={"name": "you"}, headers=bad)
    assert answer.status_code == 400


def events(text: str) -> list[tuple[str, Any]]:
    """Return name and data of each server-sent event."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


def test_a_stream_is_one_of_events(url: str) -> None:
    answer = httpx.post(f"{url}/v1/models/count:predict", json={"to": 2})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert events(answer.text) == [
        ("message", {"result": "0"}),
        ("message", {"result": "1"}),
        ("end", {}),
    ]
    failed = events(httpx.post(f"{url}/v1/models/count:predict", json={"to": 2, "fail_at": 1}).text)
    assert [name for name, _ in failed] == ["message", "error", "end"]
    assert failed[1][1]["status"] == "INTERNAL"
    empty = httpx.post(f"{url}/v1/models/count:predict", json={"to": 0})
    assert events(empty.text) == [("end", {})]
    first = httpx.post(f"{url}/v1/models/count:predict", json={"to": 2, "fail_at": 0})
    assert first.status_code == 500


async def test_a_stream_that_nobody_reads_any_more_ends(server: ServerProcess, url: str) -> None:
    body = {"name": "by http"}
    async with (
        httpx.AsyncClient() as client,
        client.stream("POST", f"{url}/v1/models/forever:predict", json=body) as answer,
    ):
        async for line in answer.aiter_lines():
            assert line == 'data: {"result":"by http"}'
            break
    await logged(server, "left by http")


async def test_a_client_that_goes_away_frees_its_slot(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(APP, "--http-port", "0")
    url = f"http://{http_of(server)}/v1/models/hold:predict"
    until = tmp_path / "until"
    async with httpx.AsyncClient() as client:
        first = asyncio.create_task(client.post(url, json={"until": str(tmp_path / "never")}))
        await logged(server, "holding")
        refused = await client.post(url, json={"until": str(until)})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        first.cancel()
        until.touch()
        async with asyncio.timeout(30):
            while (await client.post(url, json={"until": str(until)})).status_code != 200:
                pass


async def test_calls_in_flight_are_finished_at_the_end(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(APP, "--http-port", "0", "--grace", "50")
    url = f"http://{http_of(server)}/v1/models/hold:predict"
    until = tmp_path / "until"
    async with httpx.AsyncClient() as client:
        held = asyncio.create_task(client.post(url, json={"until": str(until)}, timeout=50))
        await logged(server, "holding")
        server.signal(signal.SIGTERM)
        await logged(server, "stopping: 1 calls in flight")
        until.touch()
        assert (await held).json() == {"result": "released"}
    code, errors = await asyncio.to_thread(server.wait)
    assert code == 0, errors


async def test_calls_that_outlive_the_grace_period_are_cancelled(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server(APP, "--http-port", "0", "--grace", "0.1")
    url = f"http://{http_of(server)}/v1/models/hold:predict"
    async with httpx.AsyncClient() as client:
        body = {"until": str(tmp_path / "never")}
        held = asyncio.create_task(client.post(url, json=body, timeout=50))
        await logged(server, "holding")
        code, errors = await asyncio.to_thread(server.stop)
        assert code == 0, errors
        assert "Traceback" not in errors
        answer = await held
    assert (answer.status_code, answer.json()["error"]) == (503, "the server is stopping")


def test_a_stream_that_nobody_reads_ends_with_the_server(start_server: StartServer) -> None:
    server = start_server(APP, "--http-port", "0", "--grace", "0.1", "--access-log")
    host, _, port = http_of(server).rpartition(":")
    body = json.dumps({"name": "x" * 100_000}).encode()
    head = f"POST /v1/models/forever:predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        code, errors = server.stop()
    assert code == 0, errors
    assert "Traceback" not in errors
    assert "ERROR" not in errors


def test_the_openapi_document_is_valid_and_has_every_model(url: str, rows: str) -> None:
    for address in (url, rows):
        document = httpx.get(f"{address}/openapi.json").json()
        validate(document)
    paths = httpx.get(f"{url}/openapi.json").json()["paths"]
    assert "/v1/models/nested:predict" in paths
    assert "/v1/models/greet/versions/2:predict" in paths
    assert "/v2/models/{name}/infer" in paths


@pytest.mark.timeout(300)
def test_schemathesis_finds_no_answer_that_the_document_does_not_have(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("tests.apps.rows:app", "--http-port", "0")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    done = subprocess.run(
        [
            str(Path(sys.executable).parent / "schemathesis"),
            *("run", f"http://{http_of(server)}/openapi.json"),
            *("--exclude-path-regex", "/versions/", "--no-color"),
            *("--checks", f"{checks},response_schema_conformance"),
            *("--max-examples", "8", "--seed", "1", "--phases", "fuzzing,coverage"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert "Traceback" not in server.errors()


def test_workers_have_no_http() -> None:
    done = blaze("serve", APP, "--workers", "2", "--http-port", "0")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "http_port is 0; it must be left out with several workers" in done.stderr


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = blaze("serve", APP, "--port", "0", "--http-port", str(port))
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port} for HTTP: " in done.stderr.splitlines()[-1]


def test_without_the_protocol_the_models_are_there(start_server: StartServer) -> None:
    server = start_server(APP, "--http-port", "0", "--no-oip")
    url = f"http://{http_of(server)}"
    assert predicted(url, "greet", {"name": "you"}) == (200, {"result": "hello you"})
    assert httpx.get(f"{url}/v2/health/live").status_code == 404
    validate(httpx.get(f"{url}/openapi.json").json())
