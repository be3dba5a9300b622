"""Serve typed Python models over gRPC."""

from typing import TYPE_CHECKING

from blazerpc_client.lazy import lazy_names

if TYPE_CHECKING:
    from blazerpc.app import BlazeApp
    from blazerpc.client import BlazeClient
    from blazerpc.config import ExecutionOptions, RayEngine, Resources, ServeOptions
    from blazerpc.context import AppState, Context, Depends
    from blazerpc.exceptions import (
        BlazeRPCError,
        ConfigurationError,
        DeadlineExceededError,
        InferenceError,
        ModelNotFoundError,
        OverloadedError,
        SerializationError,
        StartupError,
        ValidationError,
    )
    from blazerpc.tls import ServerTLS
    from blazerpc.types import Tensor, TensorInput, TensorOutput
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "app": ["BlazeApp"],
            "client": ["BlazeClient"],
            "codegen": [],
            "config": ["ExecutionOptions", "RayEngine", "Resources", "ServeOptions"],
            "context": ["AppState", "Context", "Depends"],
            "engines": [],
            "exceptions": [
                "BlazeRPCError",
                "ConfigurationError",
                "DeadlineExceededError",
                "InferenceError",
                "ModelNotFoundError",
                "OverloadedError",
                "SerializationError",
                "StartupError",
                "ValidationError",
            ],
            "rows": [],
            "runtime": [],
            "server": [],
            "tls": ["ServerTLS"],
            "types": ["Tensor", "TensorInput", "TensorOutput"],
        },
    )

__all__ = [
    "AppState",
    "BlazeApp",
    "BlazeClient",
    "BlazeRPCError",
    "ConfigurationError",
    "Context",
    "DeadlineExceededError",
    "Depends",
    "ExecutionOptions",
    "InferenceError",
    "ModelNotFoundError",
    "OverloadedError",
    "RayEngine",
    "Resources",
    "SerializationError",
    "ServeOptions",
    "ServerTLS",
    "StartupError",
    "Tensor",
    "TensorInput",
    "TensorOutput",
    "ValidationError",
]


def __dir__() -> list[str]:
    return __all__
