"""Registry -> grpclib handlers: one for each model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeAlias

from google.protobuf.message import Message
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from blazerpc.codegen.lock import SchemaLock
from blazerpc.codegen.schema import SERVICE_NAME, build_schema, method_full_name
from blazerpc.runtime.errors import as_grpc_errors, invalid_argument
from blazerpc.runtime.executor import ModelExecutor
from blazerpc.runtime.registry import ModelInfo, ModelRegistry
from blazerpc.runtime.serialization import ModelCodec
from blazerpc_client.schema import Schema
from blazerpc_client.wire.tensors import Dims

Call: TypeAlias = Stream[Message, Message]


class InferenceServicer:
    """All models of a registry as one gRPC service.

    Models are read once, here: one that is registered later is not served.

    Attributes:
        schema: of the service.
    """

    def __init__(self, registry: ModelRegistry, lock: SchemaLock | None = None) -> None:
        self.schema: Schema = build_schema(registry, lock)
        self._executors: list[ModelExecutor] = []
        self._mapping = {
            f"/{SERVICE_NAME}/{model.rpc}": self._handler(model) for model in registry.list_models()
        }

    def __mapping__(self) -> dict[str, Handler]:
        """Return grpclib's table: the path of each rpc, and what serves it."""
        return self._mapping

    def close(self) -> None:
        """Let the models' threads end."""
        for executor in self._executors:
            executor.close()

    def _handler(self, model: ModelInfo) -> Handler:
        codec = ModelCodec(model, self.schema, method_full_name(model))
        executor = ModelExecutor(model)
        self._executors.append(executor)
        if model.streaming:
            function = _streaming(model, codec, executor)
            cardinality = Cardinality.UNARY_STREAM
        else:
            function = _unary(model, codec, executor)
            cardinality = Cardinality.UNARY_UNARY
        return Handler(function, cardinality, codec.request_class, codec.response_class)


def build_servicer(registry: ModelRegistry) -> InferenceServicer:
    """Return the service of all models in ``registry``."""
    return InferenceServicer(registry)


def _unary(
    model: ModelInfo, codec: ModelCodec, executor: ModelExecutor
) -> Callable[[Call], Awaitable[None]]:
    what = f"model {model.name!r}"

    async def handle(stream: Call) -> None:
        dims: Dims = {}
        with as_grpc_errors(what):
            arguments = codec.decode(await _receive(stream), dims)
            response = codec.encode(await executor.execute(arguments), dims)
        await stream.send_message(response)

    return handle


def _streaming(
    model: ModelInfo, codec: ModelCodec, executor: ModelExecutor
) -> Callable[[Call], Awaitable[None]]:
    what = f"model {model.name!r}"

    async def handle(stream: Call) -> None:
        dims: Dims = {}
        with as_grpc_errors(what):
            arguments = codec.decode(await _receive(stream), dims)
            async with aclosing(executor.stream(arguments)) as results:
                async for result in results:
                    # A size that only results have may differ from one item to the next.
                    await stream.send_message(codec.encode(result, dict(dims)))

    return handle


async def _receive(stream: Call) -> Message:
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
