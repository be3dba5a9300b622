"""Whether the server at the other end of a connection serves: gRPC's client-side health checking.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpclib.client
from google.protobuf import descriptor_pool, message_factory, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.message import Message
from grpclib.const import Cardinality

from blazerpc_client.backoff import Backoff
from blazerpc_client.errors import RpcError, Unimplemented, translated

_PATH: Final = "/grpc.health.v1.Health/Watch"
_SERVING: Final = 1

# In a pool of its own, as another health library of the process has its copy in the global one.
_FILE: Final = """
name: "health.proto" package: "grpc.health.v1" syntax: "proto3"
message_type {
  name: "HealthCheckRequest"
  field { name: "service" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
}
message_type {
  name: "HealthCheckResponse"
  field { name: "status" number: 1 type: TYPE_ENUM label: LABEL_OPTIONAL
          type_name: ".grpc.health.v1.HealthCheckResponse.ServingStatus" }
  enum_type {
    name: "ServingStatus"
    value { name: "UNKNOWN" number: 0 }
    value { name: "SERVING" number: 1 }
    value { name: "NOT_SERVING" number: 2 }
    value { name: "SERVICE_UNKNOWN" number: 3 }
  }
}
"""


def _messages() -> tuple[type[Message], type[Message]]:
    pool = descriptor_pool.DescriptorPool()
    file = text_format.Parse(_FILE, FileDescriptorProto())
    pool.AddSerializedFile(file.SerializeToString())
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.health.v1.{name}"))
        for name in ("HealthCheckRequest", "HealthCheckResponse")
    )
    return request, response


async def watch_health(
    channel: grpclib.client.Channel,
    service: str,
    tell: Callable[[str | None], bool],
    *,
    patience: float,
    backoff: Backoff,
) -> None:
    """Tell whether a service is served, again when that changes, until nobody asks any more.

    Args:
        channel: that has the connection in question alone.
        service: its name; the server as a whole when it is empty.
        tell: called with None when it is, and else with why it is not. A server without a health
            service serves. It returns whether to go on.
        patience: seconds that the first answer may take.
        backoff: between questions that fail.
    """
    request_class, response_class = _messages()
    asked = service or "the server"
    failures = 0
    while True:
        failure = f"the server ended the watch of {asked}"
        try:
            with translated("its health service"):
                call: Any = channel.request(
                    _PATH, Cardinality.UNARY_STREAM, request_class, response_class
                )
                async with call:
                    await call.send_message(request_class(service=service), end=True)
                    async with asyncio.timeout(patience):
                        response = await call.recv_message()
                    while response is not None:
                        failures = 0
                        tell(_failure(response, asked))
                        response = await call.recv_message()
        except Unimplemented:
            tell(None)
            return
        except RpcError as error:
            failure = f"no health of {asked}: {error.message}"
        failures += 1
        # Who cancels this when the connection ends is not heard: grpclib's calls take the cancel
        # for that end.
        if not tell(failure):
            return
        await asyncio.sleep(backoff.wait(failures))


def _failure(response: Any, asked: str) -> str | None:
    if response.status == _SERVING:
        return None
    names = response.DESCRIPTOR.enum_types_by_name["ServingStatus"].values_by_number
    name = names[response.status].name if response.status in names else str(response.status)
    return f"the health of {asked} is {name}"
