"""What can be asked over HTTP, and how answers and failures look there."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from blazerpc.codegen.schema import SERVICE_NAME
from blazerpc.oip.models import not_found
from blazerpc.oip.protocol import SERVICE_NAME as OIP
from blazerpc.oip.protocol import message_class
from blazerpc.rest.calls import HTTP_STATUS, HttpCall, served, unless_gone
from blazerpc.rest.messages import fill
from blazerpc.rest.openapi import document
from blazerpc.rest.tensors import JSON_LENGTH, JsonRequest, dumps, loads, plain, write_response
from blazerpc.runtime.errors import invalid_argument
from blazerpc.runtime.model import ModelInfo
from blazerpc.server.calls import unimplemented
from blazerpc.server.listener import Listener
from blazerpc_client.schema import Schema
from blazerpc_client.transport.limits import Limits
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import LargeMessage

#: What the OpenAPI document is to middleware.
_REFLECTION: Final = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"

#: A path of ``:predict``, with the version or without one.
_PREDICT: Final = re.compile(r"/v1/models/([^/]+?)(?:/versions/([^/]+))?:predict")

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Routes:
    """The HTTP face of one server.

    Args:
        listener: whose handlers and middleware serve the calls.
        models: that can be called.
        schema: of the app.
        title: of the OpenAPI document.
        oip: whether the Open Inference Protocol is served.
        reflection: whether clients may read the schema.
        limits: of what is received and sent.
    """

    def __init__(
        self,
        listener: Listener,
        models: list[ModelInfo],
        schema: Schema,
        *,
        title: str,
        oip: bool,
        reflection: bool,
        limits: Limits,
    ) -> None:
        self._listener = listener
        self._limits = limits
        self._models = models
        self._openapi = document(models, schema, title=title, oip=oip)
        self._oip = oip
        self._reflection = reflection
        self._running: set[asyncio.Task[None]] = set()

    def cancel(self) -> None:
        """Answer the calls in flight that the server is not available."""
        for task in self._running:
            task.cancel()

    def _served(self, call: HttpCall) -> AbstractAsyncContextManager[None]:
        return served(call, self._running)

    def app(self) -> Starlette:
        """Return the ASGI application."""
        routes = [Route("/openapi.json", self._describe)] if self._reflection else []
        for model in self._models:
            predict = self._predict(model)
            routes += [Route(path, predict, methods=["POST"]) for path in paths_of(model)]
        if self._oip:
            models = ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
            routes += [
                Route("/v2", self._asked("ServerMetadata")),
                Route("/v2/health/live", self._asked("ServerLive")),
                Route("/v2/health/ready", self._asked("ServerReady")),
                *(Route(path, self._asked("ModelMetadata")) for path in models),
                *(Route(f"{path}/ready", self._asked("ModelReady")) for path in models),
                *(Route(f"{path}/infer", self._infer, methods=["POST"]) for path in models),
            ]
        app = Starlette(
            routes=routes,
            exception_handlers={404: self._no_route, 405: self._no_route, ClientDisconnect: _gone},
        )
        app.router.redirect_slashes = False  # it would answer before middleware sees the call
        return app

    async def _describe(self, request: Request) -> Response:
        # Who may not read the schema over gRPC may not read it here.
        call = HttpCall(self._listener, _REFLECTION, _nothing, request, bytes, self._limits)
        async with self._served(call):
            status = await unless_gone(call, request, _status(call))
        return JSONResponse(self._openapi) if status is Status.OK else _failure(call)

    async def _no_route(self, request: Request, error: Exception) -> Response:
        # As over gRPC, middleware sees calls of what there is not, and may refuse them.
        path = request.url.path
        call = HttpCall(self._listener, path, unimplemented, request, bytes, self._limits)
        async with self._served(call):
            ended = await unless_gone(call, request, _status(call))
        if ended is not Status.UNIMPLEMENTED:
            return _failure(call)
        assert isinstance(error, HTTPException)
        if error.status_code == 404:
            return _error(Status.NOT_FOUND, self._absent(request.scope["path"]))
        allowed = {"allow": ", ".join(sorted((error.headers or {})["Allow"].split(", ")))}
        failed = _failed(Status.UNIMPLEMENTED, f"the path takes {allowed['allow']}")
        return JSONResponse(failed, error.status_code, allowed)

    def _absent(self, path: str) -> str:
        """Return what there is not at a path."""
        predict = _PREDICT.fullmatch(path)
        if predict is None:
            return "no such path"
        name, version = predict.groups("1")
        return not_found(name, version, [m.version for m in self._models if m.name == name])

    def _call(self, path: str, request: Request, parse: Callable[[bytes], Any]) -> HttpCall:
        function = self._listener.function(path)
        return HttpCall(self._listener, path, function, request, parse, self._limits)

    def _asked(self, rpc: str) -> Endpoint:
        """Return the endpoint of an rpc of the protocol that has no tensors."""
        request_class = message_class(f"{rpc}Request")

        async def ask(request: Request) -> Response:
            message = request_class(**request.path_params)
            call = self._call(f"/{OIP}/{rpc}", request, lambda _: message)
            async with self._served(call):
                answer = await unless_gone(call, request, _only(call))
            if answer is None:
                return _failure(call)
            # Probes look at nothing but the status.
            ready = all(value is not False for value in plain(answer).values())
            return JSONResponse(plain(answer), 200 if ready else 503)

        return ask

    async def _infer(self, request: Request) -> Response:
        name, version = request.path_params["name"], request.path_params.get("version", "")
        given = JsonRequest(name, version, request.headers.get(JSON_LENGTH))
        call = self._call(f"/{OIP}/ModelInfer", request, given.parse)
        async with self._served(call):
            answer = await unless_gone(call, request, _only(call))
        if answer is None:
            return _failure(call)
        try:
            body, size = write_response(answer, given.binary)
        except GRPCError as error:
            return _error(error.status, error.message)
        if size is None:
            return Response(body, media_type="application/json")
        headers = {JSON_LENGTH: str(size)}
        return Response(body, media_type="application/octet-stream", headers=headers)

    def _predict(self, model: ModelInfo) -> Endpoint:
        path = f"/{SERVICE_NAME}/{model.rpc}"
        request_class = self._listener.request_class(path)

        def parse(body: bytes) -> Message:
            message: Message = request_class()
            try:
                fill(message, loads(body))
            except WireError as error:
                raise invalid_argument(error.message, error.field) from None
            return message

        async def predict(request: Request) -> Response:
            call = self._call(path, request, parse)
            async with self._served(call):
                answer = await unless_gone(call, request, _only(call))
            return _failure(call) if answer is None else JSONResponse(_as_json(answer))

        async def stream(request: Request) -> Response:
            call = self._call(path, request, parse)
            events = _events(call, self._served(call))
            # The status of HTTP is that of the first answer, or of its absence.
            first: bytes | None = await unless_gone(call, request, anext(events))
            if first is None:
                await events.aclose()
                return _failure(call)
            return StreamingResponse(_rest(first, events), media_type="text/event-stream")

        return stream if model.streaming else predict


def paths_of(model: ModelInfo) -> list[str]:
    """Return the paths under which a model is called."""
    paths = [f"/v1/models/{model.name}/versions/{model.version}:predict"]
    return [f"/v1/models/{model.name}:predict", *paths] if model.version == "1" else paths


async def _nothing(call: HttpCall) -> None:
    """Serve a call whose answer is not one of an rpc."""


async def _status(call: HttpCall) -> Status:
    """Return how a call without answers ended."""
    async for _ in call.answers():
        pass
    return call.status


async def _only(call: HttpCall) -> Message | None:
    """Return the answer to a call that has one, None when it failed."""
    answers = [answer async for answer in call.answers()]
    return answers[0] if call.status is Status.OK else None


async def _events(
    call: HttpCall, running: AbstractAsyncContextManager[None]
) -> AsyncGenerator[bytes | None, None]:
    """Yield the answers as server-sent events; None when the call fails before the first one.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    begun = False
    async with running:
        async for answer in call.answers():
            begun = True
            yield b"data: %b\n\n" % dumps(_as_json(answer))
        if call.status is not Status.OK:
            if not begun:
                yield None
            failure = dumps(_failed(call.status, call.message))
            yield b"event: error\ndata: %b\n\n" % failure
    yield b"event: end\ndata: {}\n\n"


async def _rest(
    first: bytes, events: AsyncGenerator[bytes | None, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        yield first
        async for event in events:
            if event is not None:
                yield event


def _as_json(message: Message) -> Mapping[str, object]:
    """Return a message in protobuf's JSON, zeros included, names as they are declared."""
    whole = message
    if isinstance(message, LargeMessage):
        whole = type(message.light).FromString(message.SerializeToString())
    shown: dict[str, object] = json_format.MessageToDict(
        whole, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return shown


def _failed(status: Status, message: str | None) -> dict[str, object]:
    return {"error": message or "", "status": status.name}


def _error(status: Status, message: str | None) -> Response:
    return JSONResponse(_failed(status, message), HTTP_STATUS[status])


def _failure(call: HttpCall) -> Response:
    retry = call.retry_after
    headers = None if retry is None else {"retry-after": str(math.ceil(retry))}
    # RFC 9110, section 15.5.14: a request that never fits is not one of too many.
    code = 413 if call.too_large else HTTP_STATUS[call.status]
    return JSONResponse(_failed(call.status, call.message), code, headers)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=HTTP_STATUS[Status.CANCELLED])  # nobody reads it
