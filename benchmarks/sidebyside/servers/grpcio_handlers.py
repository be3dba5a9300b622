"""grpcio's handlers of the service, in the form that its generated code gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from benchmarks.sidebyside.servers.service import SERVICE, STREAM, UNARY

#: Makes grpcio's behaviour of a function of the request.
Behaviour = Callable[[Any], Any]


def handlers(unary: Behaviour, stream: Behaviour) -> grpc.GenericRpcHandler:
    """Return the handlers of all methods."""
    methods = {
        name: make(
            behaviour(function),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
        for table, make, behaviour in (
            (UNARY, grpc.unary_unary_rpc_method_handler, unary),
            (STREAM, grpc.unary_stream_rpc_method_handler, stream),
        )
        for name, (function, request, response) in table.items()
    }
    return grpc.method_handlers_generic_handler(SERVICE, methods)
