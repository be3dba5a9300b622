"""What sees every call: who may make it, logging, metrics, exceptions, and the base class."""

from blazerpc.server.middleware.access_log import LoggingMiddleware
from blazerpc.server.middleware.auth import AuthMiddleware, Caller, api_key, bearer_token
from blazerpc.server.middleware.base import Middleware
from blazerpc.server.middleware.exceptions import ExceptionMiddleware
from blazerpc.server.middleware.prometheus import MetricsMiddleware
from blazerpc.server.middleware.rate_limit import RateLimitMiddleware

__all__ = [
    "AuthMiddleware",
    "Caller",
    "ExceptionMiddleware",
    "LoggingMiddleware",
    "MetricsMiddleware",
    "Middleware",
    "RateLimitMiddleware",
    "api_key",
    "bearer_token",
]
