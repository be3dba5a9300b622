"""The gRPC server: life cycle, health, reflection, middleware."""

from blazerpc.server.calls import Call
from blazerpc.server.grpc import GRPCServer
from blazerpc.server.health import HealthService, build_health_service
from blazerpc.server.middleware import (
    ExceptionMiddleware,
    LoggingMiddleware,
    MetricsMiddleware,
    Middleware,
)
from blazerpc.server.reflection import build_reflection_service

__all__ = [
    "Call",
    "ExceptionMiddleware",
    "GRPCServer",
    "HealthService",
    "LoggingMiddleware",
    "MetricsMiddleware",
    "Middleware",
    "build_health_service",
    "build_reflection_service",
]
