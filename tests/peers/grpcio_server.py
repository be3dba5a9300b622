"""A server of grpcio's that fails as its requests say.

A program of its own: its health service is in protobuf's global pool, as that of the tests is.
Listens at the address that is its argument, prints the one it got, and then says of its health what
it reads from its standard input; it ends with that. Further arguments are grpcio's options.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


class Script:
    """Fails the first calls of a key; then tells what each of them said of those before it."""

    def __init__(self) -> None:
        self._attempts: dict[str, list[str | None]] = defaultdict(list)

    def say(self, request: StringValue, context: grpc.ServicerContext) -> StringValue:
        return next(self.repeat(request, context))

    def repeat(self, request: StringValue, context: grpc.ServicerContext) -> Iterator[StringValue]:
        wanted = json.loads(request.value or "{}")
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        attempts = self._attempts[wanted.get("key", "")]
        attempts.append(metadata.get("grpc-previous-rpc-attempts"))
        if len(attempts) <= wanted.get("failures", 0):
            if wanted.get("begin"):
                yield StringValue(value="begun")
            if "pushback" in wanted:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", wanted["pushback"]),))
            context.abort(grpc.StatusCode[wanted.get("status", "UNAVAILABLE")], "as it was asked")
        yield StringValue(value=json.dumps({"pid": os.getpid(), "attempts": attempts}))


def main() -> None:
    address, *options = sys.argv[1:]
    pairs = [option.split("=") for option in options]
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=8),
        options=[("grpc.so_reuseport", 0), *((name, int(value)) for name, value in pairs)],
    )
    script = Script()
    codec: dict[str, Any] = {
        "request_deserializer": StringValue.FromString,
        "response_serializer": StringValue.SerializeToString,
    }
    handlers = {
        "Say": grpc.unary_unary_rpc_method_handler(script.say, **codec),
        "Repeat": grpc.unary_stream_rpc_method_handler(script.repeat, **codec),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    server.start()
    print(f"{address.rpartition(':')[0]}:{port}", flush=True)
    for line in sys.stdin:
        servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(line.strip()))
        print(line.strip(), flush=True)
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
