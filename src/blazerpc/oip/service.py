"""``inference.GRPCInferenceService``: the models of a server, called by the protocol's clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from importlib import metadata
from typing import Any, Final

from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from blazerpc.codegen.servicer import (
    Call,
    InferenceServicer,
    context_of,
    end,
    give_way,
    new_request,
    receive,
)
from blazerpc.exceptions import BlazeRPCError, DeadlineExceededError
from blazerpc.oip.models import Models, OfferedModel
from blazerpc.oip.protocol import (
    SERVICE_NAME,
    STREAM,
    InferRequest,
    InferResponse,
    StreamResponse,
    message_class,
    with_raw_output,
)
from blazerpc.runtime.errors import as_grpc_error
from blazerpc.runtime.observer import Timing
from blazerpc.runtime.runner import Request, SingleRunner
from blazerpc_client.wire.tensors import Dims

# Parameters of requests and responses, all Triton's:
# https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_parameters.md
# The microseconds that a request may take.
_TIMEOUT: Final = "timeout"
# Whether a stream of results ends with a response that says so and has no outputs.
_WANTS_FINAL: Final = "triton_enable_empty_final_response"
# In a response of a stream: whether it is the last one to its request.
_FINAL: Final = "triton_final_response"


class OpenInferenceService:
    """The protocol's service on the models of an ``InferenceServicer``, which runs them."""

    def __init__(self, servicer: InferenceServicer, name: str) -> None:
        self._calls = servicer.calls
        self._state = servicer.state
        self._name = name
        self._models = Models(servicer.runners)
        self._ready = False
        self._idle: set[asyncio.Timeout] = set()

    def __mapping__(self) -> dict[str, Handler]:
        """Return grpclib's table: the path of each rpc, and what serves it."""
        asked: dict[str, Callable[[Any], Any]] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
        }
        handlers = {
            name: Handler(
                _answering(answer),
                Cardinality.UNARY_UNARY,
                message_class(f"{name}Request"),
                message_class(f"{name}Response"),
            )
            for name, answer in asked.items()
        }
        handlers["ModelInfer"] = Handler(
            self._infer, Cardinality.UNARY_UNARY, InferRequest, InferResponse
        )
        handlers[STREAM] = Handler(
            self._stream_infer, Cardinality.STREAM_STREAM, InferRequest, StreamResponse
        )
        return {f"/{SERVICE_NAME}/{name}": handler for name, handler in handlers.items()}

    def set_serving(self, serving: bool) -> None:
        """Say whether the server is ready; when it is not any more, streams that wait end."""
        was_ready, self._ready = self._ready, serving
        if was_ready and not serving:
            now = asyncio.get_running_loop().time()
            for waiting in self._idle:
                waiting.reschedule(now)

    def _server_live(self, request: Any) -> Any:
        return message_class("ServerLiveResponse")(live=True)

    def _server_ready(self, request: Any) -> Any:
        return message_class("ServerReadyResponse")(ready=self._ready)

    def _model_ready(self, request: Any) -> Any:
        self._models.find(request.name, request.version)
        return message_class("ModelReadyResponse")(ready=self._ready)

    def _server_metadata(self, request: Any) -> Any:
        version = metadata.version("blazerpc")
        return message_class("ServerMetadataResponse")(name=self._name, version=version)

    def _model_metadata(self, request: Any) -> Any:
        model = self._models.find(request.name, request.version)
        return model.metadata(self._models.versions(request.name))

    async def _infer(self, stream: Call) -> None:
        """Answer a call with the result of a model."""
        request, what = new_request(), "the request"
        try:
            slot = await self._calls.acquire()
            try:
                infer = _infer_request(await receive(stream))
                model = self._find(infer)
                _refuse_stream(model)
                what = model.what
                self._read(stream, "ModelInfer", model, infer, request)
                async with _within(_timeout(infer)):
                    result = await model.runner.call(request)
                response = InferResponse()
                model.begin(response, infer)
                raw = model.add_output(response, result, request.dims)
                await stream.send_message(with_raw_output(response, raw))
            finally:
                slot.leave()
        except (GRPCError, BlazeRPCError) as failure:
            await end(stream, request, as_grpc_error(what, failure))
        else:
            await end(stream, request)

    async def _stream_infer(self, stream: Call) -> None:
        """Answer requests in the order in which they come, each with one or many responses.

        A request that fails is answered with its error, and the next one is served: the call goes
        on until its client, or the server, ends it.
        """
        while (infer := await self._next(stream)) is not None:
            what = "the request"
            try:
                slot = await self._calls.acquire()
                try:
                    model = self._find(infer)
                    what = model.what
                    async with _within(_timeout(infer)):
                        await self._serve(stream, model, infer)
                finally:
                    slot.leave()
            except (GRPCError, BlazeRPCError) as failure:
                await stream.send_message(_failed(infer, as_grpc_error(what, failure)))
        await stream.send_trailing_metadata()

    async def _next(self, stream: Call) -> InferRequest | None:
        """Return the next request, None after the last.

        Raises:
            GRPCError: UNAVAILABLE, when the server stops meanwhile.
        """
        waiting = asyncio.timeout(None if self._ready else 0)
        self._idle.add(waiting)
        try:
            async with waiting:
                message = await stream.recv_message()
        except TimeoutError:
            if not waiting.expired():  # the call's deadline is another one
                raise
            raise GRPCError(Status.UNAVAILABLE, "the server is stopping") from None
        finally:
            self._idle.discard(waiting)
        return None if message is None else _infer_request(message)

    async def _serve(self, stream: Call, model: OfferedModel, infer: InferRequest) -> None:
        """Send what the model answers to one request of a stream."""
        request = new_request()
        request.timing = Timing()  # a call has one, and this is one request of several
        self._read(stream, STREAM, model, infer, request)
        runner = model.runner
        if not runner.model.streaming:
            result = await runner.call(request)
            await _send(stream, model, infer, [result], request.dims, final=True)
            return
        assert isinstance(runner, SingleRunner)
        async with aclosing(runner.stream(request)) as results:
            begun = time.monotonic()
            async for result in results:
                # A size that only results have may differ from one item to the next.
                await _send(stream, model, infer, [result], dict(request.dims), final=False)
                begun = await give_way(begun)
        if infer.message.parameters[_WANTS_FINAL].bool_param:
            await _send(stream, model, infer, [], request.dims, final=True)

    def _find(self, infer: InferRequest) -> OfferedModel:
        return self._models.find(infer.message.model_name, infer.message.model_version)

    def _read(
        self, stream: Call, rpc: str, model: OfferedModel, infer: InferRequest, request: Request
    ) -> None:
        """Decode a request."""
        if model.runner.dependencies.need_context:
            request.context = context_of(stream, f"/{SERVICE_NAME}/{rpc}", self._state)
        now = request.arrived = time.monotonic()
        deadline = None if stream.deadline is None else stream.deadline.time_remaining()
        limits = [limit for limit in (deadline, _timeout(infer)) if limit is not None]
        request.deadline = now + min(limits) if limits else None
        request.arguments = model.arguments(infer, request.dims)


def _refuse_stream(model: OfferedModel) -> None:
    """Raise UNIMPLEMENTED for a model that gives a stream of results, and say how to get them."""
    called = model.runner.model
    if called.streaming:
        path = f"/v1/models/{called.name}/versions/{called.version}:predict"
        text = f"{model.what} gives a stream of results; call {STREAM}, or over HTTP {path}"
        raise GRPCError(Status.UNIMPLEMENTED, text)


def _infer_request(message: object) -> InferRequest:
    assert isinstance(message, InferRequest)  # as the rpc's entry in the table says
    return message


@asynccontextmanager
async def _within(seconds: float | None) -> AsyncIterator[None]:
    """Give a request no more time than it wants.

    Raises:
        DeadlineExceededError: when that is over.
    """
    waiting = asyncio.timeout(seconds)
    try:
        async with waiting:
            yield
    except TimeoutError:
        if not waiting.expired():
            raise
        raise DeadlineExceededError("the request's timeout is over") from None


def _timeout(infer: InferRequest) -> float | None:
    """Return the seconds that a request may take, None for any time."""
    parameters = infer.message.parameters
    if _TIMEOUT not in parameters:
        return None
    parameter = parameters[_TIMEOUT]
    value: int = parameter.int64_param or parameter.uint64_param
    return value / 1e6 if value > 0 else None


async def _send(
    stream: Call,
    model: OfferedModel,
    infer: InferRequest,
    results: Sequence[object],
    dims: Dims,
    *,
    final: bool,
) -> None:
    """Send a response of a stream, with a result or without one."""
    message = StreamResponse()
    response = message.infer_response
    model.begin(response, infer)
    response.parameters[_FINAL].bool_param = final
    for result in results:
        response.raw_output_contents.extend(model.add_output(response, result, dims))
    await stream.send_message(message)


def _failed(infer: InferRequest, error: GRPCError) -> Any:
    """Return the response to a request of a stream that failed."""
    response = StreamResponse(error_message=f"{error.status.name}: {error.message or ''}")
    response.infer_response.id = infer.message.id
    response.infer_response.model_name = infer.message.model_name
    return response


def _answering(answer: Callable[[Any], Any]) -> Callable[[Call], Awaitable[None]]:
    """Return the handler of an rpc whose answer takes no time."""

    async def handle(stream: Call) -> None:
        try:
            response = answer(await receive(stream))
        except (GRPCError, BlazeRPCError) as failure:
            raise as_grpc_error("the request", failure) from None
        await stream.send_message(response)

    return handle
