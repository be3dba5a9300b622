"""Spans for the calls of a client, with the semantic conventions for RPC of version 1.44.

https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, Protocol, TypeVar

from blazerpc_client.channel import Channel
from blazerpc_client.errors import RpcError
from blazerpc_client.options import CallOptions
from blazerpc_client.targets import UnixPath, parse_target

try:
    from opentelemetry import context, propagate, trace
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as _error:
    raise ImportError("traced clients need OpenTelemetry: pip install 'blazerpc[otel]'") from _error

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"


class _Client(Protocol):
    @property
    def _channel(self) -> Channel: ...


C = TypeVar("C", bound=_Client)


def traced(client: C, tracer_provider: TracerProvider | None = None) -> C:
    """Make a span for each call of a client from now on, and send its trace along.

    ``async with traced(InferenceClient("localhost:50051")) as client: ...``

    The server sees the trace in the call's metadata, in the form that OpenTelemetry is set to:
    W3C's ``traceparent`` unless told otherwise. What ``with_options`` has returned and will return
    is of the same connection, and traced as well.

    Args:
        client: generated, blocking or not, or a ``BlazeClient``.
        tracer_provider: that makes the spans; OpenTelemetry's global one by default.

    Returns:
        The client.

    Raises:
        ImportError: without the extra ``otel``, when this module is imported.
    """
    client._channel.observer = _Spans(tracer_provider)
    return client


class _Spans:
    """Makes the spans of a channel's calls."""

    def __init__(self, provider: TracerProvider | None) -> None:
        self._tracer = trace.get_tracer(
            "blazerpc_client", tracer_provider=provider, schema_url=_SCHEMA
        )

    @contextmanager
    def call(self, path: str, target: str, options: CallOptions) -> Iterator[CallOptions]:
        method = path.removeprefix("/")
        attributes = {"rpc.system.name": "grpc", "rpc.method": method, **_server(target)}
        span = self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes)
        # Not made the current span: a stream's caller runs between its answers.
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(span, context.get_current()))
        try:
            yield replace(options, metadata={**options.metadata, **carrier})
        except RpcError as error:
            _end(span, error.status.name)
            raise
        except BaseException:  # the caller goes away: a cancellation, or a stream that it leaves
            _end(span, "CANCELLED")
            raise
        _end(span, "OK")


def _server(target: str) -> dict[str, str | int]:
    """Return the address, unless it is one of several."""
    parts = parse_target(target).parts
    if len(parts) > 1:
        return {}
    if isinstance(parts[0], UnixPath):
        return {"server.address": parts[0].path}
    return {"server.address": parts[0].host, "server.port": parts[0].port}


def _end(span: Span, status: str) -> None:
    span.set_attribute("rpc.response.status_code", status)
    if status not in ("OK", "CANCELLED"):
        span.set_attribute("error.type", status)
        span.set_status(Status(StatusCode.ERROR))
    span.end()
