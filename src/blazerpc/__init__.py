"""Serve typed Python models over gRPC."""

from blazerpc.app import BlazeApp
from blazerpc.client import BlazeClient
from blazerpc.config import ExecutionOptions, ServeOptions
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
from blazerpc.types import Tensor, TensorInput, TensorOutput

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
    "SerializationError",
    "ServeOptions",
    "StartupError",
    "Tensor",
    "TensorInput",
    "TensorOutput",
    "ValidationError",
]
