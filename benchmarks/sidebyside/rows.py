"""The work that is measured: one row of the table each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.protobuf import message_factory
from google.protobuf.message import Message

from benchmarks.sidebyside.app import VALUES, app
from blazerpc.codegen.schema import SERVICE_NAME, build_schema
from blazerpc.runtime.serialization import serialize_tensor

_SCHEMA: Final = build_schema(app.registry)
_TEXT: Final = "0123456789"


@dataclass(frozen=True)
class ServerRow:
    """Calls of one rpc, so many at once.

    Attributes:
        name: on the command line.
        title: in tables.
        rpc: what is called.
        request: the message.
        response: what has to come back.
        count: how many such responses a call has.
        connections: how many there are.
        streams: calls under way on each.
        unit: what is counted.
        per_call: how much of it a call is.
        latency: whether the plain figure is the median time of a call, and not a rate.
    """

    name: str
    title: str
    rpc: str
    request: Message
    response: Message
    count: int = 1
    connections: int = 8
    streams: int = 8
    unit: str = "calls"
    per_call: float = 1.0
    latency: bool = False

    @property
    def path(self) -> str:
        """The rpc's path in HTTP."""
        return f"/{SERVICE_NAME}/{self.rpc}"


@dataclass(frozen=True)
class ClientRow:
    """Calls of a client, so many at once: their rate, and how many a second of its CPU makes."""

    name: str
    title: str
    concurrency: int
    unit: str = "calls"
    per_call: float = 1.0
    latency: bool = False


Row = ServerRow | ClientRow


def _message(name: str, **fields: object) -> Any:
    return message_factory.GetMessageClass(_SCHEMA.message(f"blazerpc.{name}"))(**fields)


def _tensor(name: str, field: str, array: Any) -> Message:
    message = _message(name)
    tensor = serialize_tensor(array)
    target = getattr(message, field)
    target.shape.extend(tensor.shape)
    target.dtype, target.data = tensor.dtype, tensor.data
    whole: Message = message
    return whole


_PICTURE: Final = np.ones((1, 224, 224, 3), np.float32)
_ECHO: Final = (_message("EchoRequest", value=_TEXT), _message("EchoResponse", result=_TEXT))

ROWS: Final[tuple[Row, ...]] = (
    ServerRow("unary", "unary echo, 64 in flight", "PredictEcho", *_ECHO),
    ServerRow(
        "latency",
        "unary echo, one in flight",
        "PredictEcho",
        *_ECHO,
        connections=1,
        streams=1,
        latency=True,
    ),
    ServerRow(
        "tensor-in",
        "600 KB tensor in",
        "PredictTensorIn",
        _tensor("TensorInRequest", "value", _PICTURE),
        _message("TensorInResponse", result=_PICTURE.size),
        connections=4,
        streams=2,
    ),
    ServerRow(
        "tensor-out",
        "4 MiB tensor out",
        "PredictTensorOut",
        _message("TensorOutRequest", count=VALUES.size),
        _tensor("TensorOutResponse", "result", VALUES),
        connections=4,
        streams=2,
        unit="MB",
        per_call=VALUES.nbytes / 1e6,
    ),
    ServerRow(
        "stream",
        "stream of 100 small messages",
        "PredictStream",
        _message("StreamRequest", value=_TEXT, count=100),
        _message("StreamResponse", result=_TEXT),
        count=100,
        streams=1,
        unit="messages",
        per_call=100,
    ),
    ClientRow("client-1", "client, one call at a time", 1),
    ClientRow("client-64", "client, 64 calls at once", 64),
)
