"""What every peer's service does: the models of app.py by hand, with google.protobuf's messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import blaze_service_pb2 as messages
import numpy as np

SERVICE: Final = "blazerpc.InferenceService"

_VALUES: Final = np.ones(1 << 20, np.float32)


def echo(request: Any) -> Any:
    """Give back a text."""
    return messages.EchoResponse(result=request.value)


def tensor_in(request: Any) -> Any:
    """Count the elements of a picture, once it is an array as a model needs it."""
    tensor = request.value
    if tensor.dtype != "float":
        raise ValueError(f"dtype {tensor.dtype}")
    array = np.frombuffer(tensor.data, np.float32).reshape(tensor.shape)
    return messages.TensorInResponse(result=array.size)


def tensor_out(request: Any) -> Any:
    """Give so many numbers."""
    array = _VALUES[: request.count]
    response = messages.TensorOutResponse()
    response.result.shape.extend(array.shape)
    response.result.dtype = "float"
    response.result.data = array.tobytes()
    return response


def stream(request: Any) -> Iterator[Any]:
    """Give back a text so many times."""
    for _ in range(request.count):
        yield messages.StreamResponse(result=request.value)


#: Name of each rpc that has one response, its function, and the classes of request and response.
UNARY: Final[dict[str, Any]] = {
    "PredictEcho": (echo, messages.EchoRequest, messages.EchoResponse),
    "PredictTensorIn": (tensor_in, messages.TensorInRequest, messages.TensorInResponse),
    "PredictTensorOut": (tensor_out, messages.TensorOutRequest, messages.TensorOutResponse),
}
#: Likewise of the one that has many.
STREAM: Final[dict[str, Any]] = {
    "PredictStream": (stream, messages.StreamRequest, messages.StreamResponse)
}
