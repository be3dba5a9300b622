"""What sees every call: logging, metrics, exception mapping, and the base class of one's own."""

from blazerpc.server.middleware.access_log import LoggingMiddleware
from blazerpc.server.middleware.base import Middleware
from blazerpc.server.middleware.exceptions import ExceptionMiddleware
from blazerpc.server.middleware.prometheus import MetricsMiddleware

__all__ = ["ExceptionMiddleware", "LoggingMiddleware", "MetricsMiddleware", "Middleware"]
