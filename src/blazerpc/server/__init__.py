"""The gRPC server: life cycle, health, reflection, middleware."""

from typing import TYPE_CHECKING

from blazerpc.server.calls import Call
from blazerpc.server.grpc import GRPCServer
from blazerpc.server.health import HealthService, build_health_service
from blazerpc.server.middleware import (
    AuthMiddleware,
    Caller,
    ExceptionMiddleware,
    LoggingMiddleware,
    MetricsMiddleware,
    Middleware,
    RateLimitMiddleware,
    api_key,
    bearer_token,
)
from blazerpc.server.reflection import build_reflection_service

__all__ = [
    "AuthMiddleware",
    "Call",
    "Caller",
    "ExceptionMiddleware",
    "GRPCServer",
    "HealthService",
    "LoggingMiddleware",
    "MetricsMiddleware",
    "Middleware",
    "RateLimitMiddleware",
    "api_key",
    "bearer_token",
    "build_health_service",
    "build_reflection_service",
]

if TYPE_CHECKING:
    from blazerpc.server.middleware.otel import OTelMetricsMiddleware as OTelMetricsMiddleware
    from blazerpc.server.middleware.otel import OTelTracingMiddleware as OTelTracingMiddleware


def __getattr__(name: str) -> object:
    """Import what needs an extra when it is asked for."""
    if name in ("OTelMetricsMiddleware", "OTelTracingMiddleware"):
        from blazerpc.server.middleware import otel

        found: object = getattr(otel, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
