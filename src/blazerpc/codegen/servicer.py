"""Registry -> grpclib handlers: one for each model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    nullcontext,
)
from typing import Final, TypeAlias, cast

from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from blazerpc.codegen.lock import SchemaLock
from blazerpc.codegen.schema import SERVICE_NAME, build_schema, method_full_name
from blazerpc.context import AppState, Context, current_principal
from blazerpc.exceptions import BlazeRPCError, OverloadedError
from blazerpc.runtime.engine import Engine, LocalEngine
from blazerpc.runtime.errors import RefusedError, as_grpc_error, invalid_argument
from blazerpc.runtime.limiter import Limiter, Slot
from blazerpc.runtime.model import ModelInfo
from blazerpc.runtime.observer import Dropped, Observe, Timing, current_timing, observer_of
from blazerpc.runtime.registry import ModelRegistry
from blazerpc.runtime.runner import ModelRunner, Request, SingleRunner, model_runner
from blazerpc.runtime.serialization import ModelCodec
from blazerpc.runtime.trailers import add_trailer
from blazerpc_client.metadata import BATCH_SIZE, COMPUTE_MS, PUSHBACK, QUEUE_MS
from blazerpc_client.schema import Schema

Call: TypeAlias = Stream[Message, Message]

#: What the servicer enters before its models are built, and leaves when they are closed.
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[object]]

#: Seconds after which a stream lets other calls have their turn: neither a generator that never
#: waits nor a wide window makes the event loop go round.
_TURN: Final = 0.0005

#: Calls of all models at one time.
MAX_CONCURRENT_REQUESTS: Final = 4096


class InferenceServicer:
    """All models of a registry as one gRPC service.

    Models are read once, here: one that is registered later is not served.

    Args:
        registry: of the models.
        lock: with their numbers on the wire.
        state: that the calls' contexts have.
        lifespan: entered by ``startup`` and left by ``shutdown``.
        max_concurrent_requests: calls of all models at one time; others are refused.
        observe: each may give an observer of a model, which is told how its requests fare.
        engine: where the models run; None is this process.

    Attributes:
        schema: of the service.
        runners: of the models.
        calls: bounds the calls of all models.
        state: that the calls' contexts have.
    """

    def __init__(
        self,
        registry: ModelRegistry,
        lock: SchemaLock | None = None,
        *,
        state: AppState | None = None,
        lifespan: Lifespan = nullcontext,
        max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS,
        observe: Sequence[Observe] = (),
        engine: Engine | None = None,
    ) -> None:
        self.schema: Schema = build_schema(registry, lock)
        self.state: AppState = state or AppState()
        self._lifespan = lifespan
        self._observe = observe
        self._engine = engine or LocalEngine()
        self.calls: Limiter = Limiter(max_concurrent_requests, 0, "the server")
        self.runners: list[ModelRunner] = []
        self._running = AsyncExitStack()
        self._mapping = {
            f"/{SERVICE_NAME}/{model.rpc}": self._handler(model) for model in registry.list_models()
        }

    def __mapping__(self) -> dict[str, Handler]:
        """Return grpclib's table: the path of each rpc, and what serves it."""
        return self._mapping

    async def startup(self) -> None:
        """Enter the lifespan, and build and warm up the models.

        Raises:
            StartupError: when the code of one of them raises; what was begun is ended.
        """
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._lifespan())
            stack.push_async_callback(self._engine.close)
            await self._engine.start()
            for runner in self.runners:
                stack.push_async_callback(runner.stop)
                await runner.start()
            self._running = stack.pop_all()

    async def shutdown(self) -> None:
        """Close the models, let their threads end, and leave the lifespan."""
        await self._running.aclose()

    def _handler(self, model: ModelInfo) -> Handler:
        codec = ModelCodec(model, self.schema, method_full_name(model))
        runner = model_runner(model, self._engine.code(model), observer_of(model, self._observe))
        self.runners.append(runner)
        served = _Served(runner, codec, self.calls, self.state)
        function = served.stream if model.streaming else served.unary
        cardinality = Cardinality.UNARY_STREAM if model.streaming else Cardinality.UNARY_UNARY
        return Handler(function, cardinality, codec.request_class, codec.response_class)


def build_servicer(registry: ModelRegistry) -> InferenceServicer:
    """Return the service of all models in ``registry``."""
    return InferenceServicer(registry)


class _Served:
    """One model's handlers."""

    def __init__(
        self, runner: ModelRunner, codec: ModelCodec, calls: Limiter, state: AppState
    ) -> None:
        self._runner = runner
        self._codec = codec
        self._calls = calls
        self._state = state
        self._what = f"model {runner.model.name!r}"
        self._path = f"/{SERVICE_NAME}/{runner.model.rpc}"

    async def unary(self, stream: Call) -> None:
        """Answer a call with one result."""
        await self._answer(stream, self._send_result)

    async def stream(self, stream: Call) -> None:
        """Answer a call with a stream of results."""
        await self._answer(stream, self._send_results)

    async def _send_result(self, stream: Call, request: Request) -> None:
        result = await self._runner.call(request)
        await stream.send_message(self._codec.encode(result, request.dims))

    async def _send_results(self, stream: Call, request: Request) -> None:
        runner = self._runner
        assert isinstance(runner, SingleRunner)
        async with aclosing(runner.stream(request)) as results:
            begun = time.monotonic()
            async for result in results:
                # A size that only results have may differ from one item to the next.
                await stream.send_message(self._codec.encode(result, dict(request.dims)))
                begun = await give_way(begun)

    async def _answer(
        self, stream: Call, serve: Callable[[Call, Request], Awaitable[None]]
    ) -> None:
        """Serve the request of a call, and end it with a status and what is known of it."""
        request = new_request()
        if self._runner.dependencies.need_context:
            request.context = context_of(stream, self._path, self._state)
        try:
            slot = await self._slot()
            try:
                await self._read(stream, request)
                await serve(stream, request)
            finally:
                slot.leave()
        except (GRPCError, BlazeRPCError) as failure:
            await end(stream, request, as_grpc_error(self._what, failure))
        else:
            await end(stream, request)

    async def _slot(self) -> Slot:
        try:
            return await self._calls.acquire()
        except OverloadedError:
            if self._runner.observer is not None:
                self._runner.observer.dropped(Dropped.TOO_MANY_CALLS)
            raise

    async def _read(self, stream: Call, request: Request) -> None:
        with self._runner.incoming():
            message = await receive(stream)
        now = request.arrived = time.monotonic()
        if stream.deadline is not None:
            request.deadline = now + stream.deadline.time_remaining()
        request.arguments = self._codec.decode(message, request.dims)


def new_request() -> Request:
    """Return a request of the call that is served in this context, before it is decoded."""
    return Request(arguments={}, dims={}, timing=current_timing.get() or Timing())


def context_of(stream: Call, path: str, state: AppState) -> Context:
    """Return the context of a call, for what a model or its dependencies do with it."""
    return Context(
        metadata=cast(Mapping[str, str | bytes], stream.metadata),
        peer=stream.peer,
        method=path,
        deadline=stream.deadline,
        app_state=state,
        principal=current_principal.get(),
    )


async def give_way(begun: float) -> float:
    """Let other calls have their turn, if this one began long ago; return when it began."""
    if time.monotonic() - begun <= _TURN:
        return begun
    await asyncio.sleep(0)
    return time.monotonic()


async def end(stream: Call, request: Request, error: GRPCError | None = None) -> None:
    """End a call with a status, and with what is known of how its request fared."""
    if error is None:
        await stream.send_trailing_metadata(metadata=_trailing(request))
        return
    if isinstance(error, RefusedError):
        add_trailer(stream, PUSHBACK, error.pushback)
    await stream.send_trailing_metadata(
        status=error.status,
        status_message=error.message,
        status_details=error.details,
        metadata=_trailing(request),
    )


def _trailing(request: Request) -> dict[str, str | bytes]:
    """Return the trailing metadata of a call: how it fared, and what its model has set."""
    timing = request.timing
    metadata: dict[str, str | bytes] = {}
    if timing.queue is not None:
        metadata[QUEUE_MS] = f"{timing.queue * 1000:.3f}"
    if timing.compute is not None:
        metadata[COMPUTE_MS] = f"{timing.compute * 1000:.3f}"
    if timing.batch_size is not None:
        metadata[BATCH_SIZE] = str(timing.batch_size)
    if request.context is not None:
        metadata |= request.context.trailing_metadata
    return metadata


async def receive(stream: Call) -> Message:
    """Return the request.

    Raises:
        GRPCError: when the client sent none, or grpclib cannot read it.
    """
    try:
        request = await stream.recv_message()
    except AssertionError:  # grpclib's answer to a message that ends before its announced length
        raise invalid_argument("the request ends before its announced length", None) from None
    except NotImplementedError:  # grpclib's answer to the compressed flag
        raise GRPCError(Status.UNIMPLEMENTED, "compression is not supported") from None
    if request is None:
        raise invalid_argument("the request holds no message", None)
    return request
