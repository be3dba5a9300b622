"""The same service on grpcio.aio, with the same messages: what the benchmarks compare with."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import grpc
import grpc.aio
import numpy as np
from google.protobuf import message_factory

from benchmarks.app import app
from blazerpc.codegen.schema import SERVICE_NAME, build_schema

SCHEMA = build_schema(app.registry)


def message(name: str) -> Any:
    """Return a message class of google.protobuf; its fields are known at run time only."""
    return message_factory.GetMessageClass(SCHEMA.message(f"blazerpc.{name}"))


TextRequest, TextResponse = message("TextRequest"), message("TextResponse")
TensorRequest, TensorResponse = message("TensorRequest"), message("TensorResponse")


def pack(target: Any, array: Any) -> None:
    """Put an array into a ``TensorProto``."""
    target.shape.extend(array.shape)
    target.dtype = "float"
    target.data = array.tobytes()


def unpack(tensor: Any) -> Any:
    """Return the array of a ``TensorProto``, checked as a careful service would."""
    assert tensor.dtype == "float"
    return np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)


async def echo_text(request: Any, context: object) -> Any:
    """Give back a text."""
    return TextResponse(result=request.value)


async def echo_tensor(request: Any, context: object) -> Any:
    """Give back an array, made and unmade as a model needs it."""
    response = TensorResponse()
    pack(response.result, unpack(request.value))
    return response


def _method(handler: Any, request: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        handler,
        request_deserializer=request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


async def serve() -> None:
    """Serve on a free port until SIGTERM; announce the address as ``blaze serve`` does."""
    server = grpc.aio.server()
    methods = {
        "PredictText": _method(echo_text, TextRequest),
        "PredictTensor": _method(echo_tensor, TensorRequest),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    print(f"Serving on 127.0.0.1:{port}", flush=True)
    await stopped.wait()
    await server.stop(grace=5)


if __name__ == "__main__":
    asyncio.run(serve())
