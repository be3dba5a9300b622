"""Calls over HTTP pass through the middleware that calls over gRPC do."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from grpclib.const import Status
from grpclib.events import RecvRequest
from grpclib.exceptions import GRPCError
from prometheus_client import CollectorRegistry

from blazerpc import BlazeApp, ConfigurationError, ServeOptions
from blazerpc.server import (
    AuthMiddleware,
    ExceptionMiddleware,
    GRPCServer,
    MetricsMiddleware,
    Middleware,
)
from blazerpc.server.calls import Call
from blazerpc.server.middleware.auth import bearer_token
from blazerpc_client.transport.limits import Limits
from tests.unit.blazerpc.support import running


class Door(Middleware):
    """Lets in who knows the word, and notes how calls end."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, Status | None, int]] = []

    async def on_request(self, event: RecvRequest) -> None:
        if event.metadata.get("authorization") != "Bearer word":
            raise GRPCError(Status.UNAUTHENTICATED, "who are you?")

    def on_finish(self, call: Call) -> None:
        assert call.address.startswith("127.0.0.1:")
        self.ended.append((call.method, call.status, call.received))


def app_with(*middleware: Middleware) -> BlazeApp:
    app = BlazeApp(middleware=list(middleware), max_concurrent_requests=1)

    @app.model("half")
    def half(number: int) -> int:
        if number % 2:
            raise ValueError("an odd number")
        return number // 2

    return app


@asynccontextmanager
async def http(
    app: BlazeApp, options: ServeOptions | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    server: GRPCServer = app.server(options or ServeOptions(port=0, http_port=0))
    async with (
        running(server),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.face_port}") as client,
    ):
        yield client


REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
HALF = "/v1/models/half:predict"


async def test_who_may_not_call_is_refused_on_every_way_in() -> None:
    door = Door()
    async with http(app_with(door)) as client:
        refused = await client.post(HALF, json={"number": 2})
        assert (refused.status_code, refused.json()) == (
            401,
            {"error": "who are you?", "status": "UNAUTHENTICATED"},
        )
        assert (await client.post("/v2/models/half/infer", json={})).status_code == 401
        assert (await client.get("/openapi.json")).status_code == 401
        assert (await client.post("/v1/models/no:predict")).status_code == 401
        assert (await client.get("/v2/")).status_code == 401
        headers = {"Authorization": "Bearer word"}
        answer = await client.post(HALF, json={"number": 2}, headers=headers)
        assert answer.json() == {"result": "1"}
        assert "paths" in (await client.get("/openapi.json", headers=headers)).json()
        assert (await client.get("/v1/no", headers=headers)).json()["status"] == "NOT_FOUND"
        assert (await client.get(HALF, headers=headers)).status_code == 405
    # A body is not read before its sender is known.
    assert door.ended == [
        ("/blazerpc.InferenceService/PredictHalf", Status.UNAUTHENTICATED, 0),
        ("/inference.GRPCInferenceService/ModelInfer", Status.UNAUTHENTICATED, 0),
        (REFLECTION, Status.UNAUTHENTICATED, 0),
        ("/v1/models/no:predict", Status.UNAUTHENTICATED, 0),
        ("/v2/", Status.UNAUTHENTICATED, 0),
        ("/blazerpc.InferenceService/PredictHalf", Status.OK, len(b'{"number":2}')),
        (REFLECTION, Status.OK, 0),
        ("/v1/no", Status.UNIMPLEMENTED, 0),
        (HALF, Status.UNIMPLEMENTED, 0),
    ]


async def test_probes_need_no_credentials() -> None:
    door = AuthMiddleware(bearer_token({"word": "me"}))
    async with http(app_with(door)) as client:
        assert (await client.get("/v2/health/live")).json() == {"live": True}
        assert (await client.get("/v2/health/ready")).json() == {"ready": True}
        for path in ("/v2", "/v2/models/half", "/v2/models/half/ready"):
            assert (await client.get(path)).status_code == 401


async def test_without_reflection_nobody_reads_the_schema() -> None:
    options = ServeOptions(port=0, http_port=0, reflection=False)
    async with http(app_with(), options) as client:
        assert (await client.get("/openapi.json")).status_code == 404
        assert (await client.post(HALF, json={"number": 2})).status_code == 200


async def test_messages_are_no_larger_than_those_of_grpc() -> None:
    limits = Limits(max_receive_message=14, max_send_message=2)
    async with http(app_with(), ServeOptions(port=0, http_port=0, limits=limits)) as client:
        assert (await client.post(HALF, content=b'{"number":254}')).json() == {"result": "127"}
        received = await client.post(HALF, content=b'{"number":2540}')
        assert received.status_code == 413
        assert received.json()["error"] == "a request of more than 14 bytes"
        sent = await client.post(HALF, content=b'{"number":256}')  # 128 takes a byte more
        assert sent.status_code == 429
        assert sent.json()["error"] == "a message of 3 bytes is to be sent, 2 are allowed"
    none = ServeOptions(port=0, http_port=0, limits=Limits(max_receive_message=0))
    async with http(app_with(), none) as client:
        assert (await client.post(HALF, content=b"{}")).status_code == 413


async def test_exceptions_have_the_statuses_that_the_app_gives_them() -> None:
    app = app_with(ExceptionMiddleware({ValueError: Status.FAILED_PRECONDITION}))
    async with http(app) as client:
        answer = await client.post(HALF, json={"number": 1})
    assert answer.status_code == 400
    assert answer.json() == {"error": "an odd number", "status": "FAILED_PRECONDITION"}


async def test_calls_are_counted_by_their_rpc() -> None:
    registry = CollectorRegistry()
    async with http(app_with(MetricsMiddleware(registry=registry))) as client:
        await client.post(HALF, json={"number": 2})
        await client.post(HALF, json={})
        await client.post("/v1/models/no:predict", json={})

    def count(status: str) -> float | None:
        labels = {"method": "/blazerpc.InferenceService/PredictHalf", "status": status}
        return registry.get_sample_value("blazerpc_requests_total", labels)

    assert (count("OK"), count("INVALID_ARGUMENT")) == (2.0, None)


@pytest.mark.parametrize("port", [-1, 1 << 16])
def test_a_port_that_there_is_not_is_refused(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"http_port is {port}; it must be 0 to 65535"):
        ServeOptions(http_port=port)


def test_without_the_extra_it_is_told_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['starlette'] = None\n"
        "from blazerpc import BlazeApp, ConfigurationError, ServeOptions\n"
        "app = BlazeApp()\n"
        "@app.model('half')\n"
        "def half(number: int) -> int: return number // 2\n"
        "app.server(ServeOptions())\n"
        "try: app.server(ServeOptions(http_port=0))\n"
        "except ConfigurationError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "HTTP needs starlette; pip install 'blazerpc[http]'\n", done.stderr


def test_http_is_refused_where_it_would_be_less_safe() -> None:
    with pytest.raises(ConfigurationError, match="left out with TLS and with UNIX sockets"):
        ServeOptions(http_port=0, host="unix:/tmp/blaze.sock")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ConfigurationError, match="left out with TLS and with UNIX sockets"):
        ServeOptions(http_port=0, ssl=context)
