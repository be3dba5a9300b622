"""Serve typed Python models over gRPC."""

from blazerpc.app import BlazeApp
from blazerpc.client import BlazeClient
from blazerpc.config import BatchOptions, ServeOptions
from blazerpc.exceptions import (
    BlazeRPCError,
    ConfigurationError,
    InferenceError,
    ModelNotFoundError,
    SerializationError,
    ValidationError,
)
from blazerpc.types import Tensor, TensorInput, TensorOutput

__all__ = [
    "BatchOptions",
    "BlazeApp",
    "BlazeClient",
    "BlazeRPCError",
    "ConfigurationError",
    "InferenceError",
    "ModelNotFoundError",
    "SerializationError",
    "ServeOptions",
    "Tensor",
    "TensorInput",
    "TensorOutput",
    "ValidationError",
]
