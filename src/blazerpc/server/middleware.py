"""What sees every call: a base class on grpclib's events, logging, metrics, exception mapping."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

from grpclib.const import Status
from grpclib.events import RecvRequest, SendTrailingMetadata, listen
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from blazerpc.exceptions import ConfigurationError
from blazerpc.runtime.errors import internal, user_statuses
from blazerpc.server.calls import Call, CallTracker

log: logging.Logger = logging.getLogger("blazerpc.middleware")


class Middleware:
    """Sees every call of the services on a server.

    Override what is needed: ``on_request`` and ``on_response`` get grpclib's events, and the first
    may raise ``GRPCError`` to refuse a call; ``on_finish`` is for observers, and is called exactly
    once a call, also for one that was refused, or that the client cancelled and that has no
    response therefore.
    """

    async def on_request(self, event: RecvRequest) -> None:
        """Act on a request, before its handler runs."""

    async def on_response(self, event: SendTrailingMetadata) -> None:
        """Act on the trailers, before they are sent."""

    def on_finish(self, call: Call) -> None:
        """Act on the end of a call; its status is set."""

    def attach(self, server: Server) -> None:
        """Listen to the calls of ``server``."""
        tracker = CallTracker.of(server)
        tracker.observers.append(self._finish)
        listen(server, RecvRequest, self._request)
        listen(server, SendTrailingMetadata, self._respond)

    async def _request(self, event: RecvRequest) -> None:
        try:
            await self.on_request(event)
        except GRPCError:
            raise
        except Exception as error:
            raise internal(type(self).__name__, error) from None

    async def _respond(self, event: SendTrailingMetadata) -> None:
        # The call is decided: an observer that fails here must not keep the client from its end.
        try:
            await self.on_response(event)
        except Exception:
            log.exception("%s failed on a response", type(self).__name__)

    def _finish(self, call: Call) -> None:
        try:
            self.on_finish(call)
        except Exception:
            log.exception("%s failed at the end of a call", type(self).__name__)


class LoggingMiddleware(Middleware):
    """Logs a line at the end of every call: method, status, milliseconds, peer."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = logger or log

    def on_finish(self, call: Call) -> None:
        assert call.status is not None
        milliseconds = call.duration * 1000
        self._log.info("%s %s %.1fms %s", call.method, call.status.name, milliseconds, call.address)


class MetricsMiddleware(Middleware):
    """Counts and times every call for Prometheus.

    ``blazerpc_requests_total{method, status}`` and
    ``blazerpc_request_duration_seconds{method}``, where the method is the path of the rpc
    (``_OTHER`` for those that the server does not have) and the status its name.

    Args:
        registry: that the metrics are registered in.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._requests, self._durations = _metrics(registry)

    def on_finish(self, call: Call) -> None:
        assert call.status is not None
        # A label that clients could make up would grow without bound.
        method = call.method if call.known else "_OTHER"
        self._requests.labels(method=method, status=call.status.name).inc()
        self._durations.labels(method=method).observe(call.duration)


@cache  # a registry takes each metric once, however many servers count in it
def _metrics(registry: CollectorRegistry) -> tuple[Counter, Histogram]:
    return (
        Counter(
            "blazerpc_requests_total",
            "Calls by rpc and status.",
            ["method", "status"],
            registry=registry,
        ),
        Histogram(
            "blazerpc_request_duration_seconds",
            "Seconds from the headers of a call to its trailers.",
            ["method"],
            registry=registry,
        ),
    )


class ExceptionMiddleware(Middleware):
    """Gives exceptions that models raise a status of their own, and their text to the client.

    ``ExceptionMiddleware({KeyError: Status.NOT_FOUND})``; the nearest base class decides. What is
    not listed stays INTERNAL with an error id, and its text in the log.

    Raises:
        ConfigurationError: for OK, which is no failure.
    """

    def __init__(self, statuses: Mapping[type[Exception], Status] | None = None) -> None:
        self._statuses = dict(statuses or {})
        if Status.OK in self._statuses.values():
            raise ConfigurationError("an exception cannot have the status OK")

    async def on_request(self, event: RecvRequest) -> None:
        # Several of these add up, the later over the earlier.
        user_statuses.set({**user_statuses.get({}), **self._statuses})
