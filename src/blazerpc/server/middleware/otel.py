"""Calls and models for OpenTelemetry, with the semantic conventions for RPC of version 1.44.

https://opentelemetry.io/docs/specs/semconv/rpc/grpc/
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from grpclib.const import Status as GrpcStatus
from multidict import MultiMapping

from blazerpc.runtime.model import ModelInfo
from blazerpc.runtime.observer import Begun, Dropped, ModelObserver
from blazerpc.server.calls import Call
from blazerpc.server.middleware.access_log import printable
from blazerpc.server.middleware.base import Middleware

try:
    from opentelemetry import context as contexts
    from opentelemetry import propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider, get_meter
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
except ImportError as _error:
    raise ImportError(
        "OTelTracingMiddleware and OTelMetricsMiddleware need OpenTelemetry: "
        "pip install 'blazerpc[otel]'"
    ) from _error

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"

#: The statuses that are a failure of the server, and not of its client.
_FAILURES: Final = frozenset(
    {
        GrpcStatus.UNKNOWN,
        GrpcStatus.DEADLINE_EXCEEDED,
        GrpcStatus.UNIMPLEMENTED,
        GrpcStatus.INTERNAL,
        GrpcStatus.UNAVAILABLE,
        GrpcStatus.DATA_LOSS,
    }
)

# What the conventions advise for seconds.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_BYTES: Final = tuple(4.0**power for power in range(3, 14))
_ROWS: Final = tuple(2.0**power for power in range(11))

_Attributes = dict[str, str | int]


class _Metadata(Getter[MultiMapping[str | bytes]]):
    """How the propagators read the metadata of a call."""

    def get(self, carrier: MultiMapping[str | bytes], key: str) -> list[str] | None:
        values = [value for value in carrier.getall(key, []) if isinstance(value, str)]
        return values or None

    def keys(self, carrier: MultiMapping[str | bytes]) -> list[str]:
        return list(carrier.keys())


_METADATA: Final = _Metadata()


class OTelTracingMiddleware(Middleware):
    """A span for every call, with a span of its wait and one of its model below it.

    The call is part of the trace that its client names, in the form that OpenTelemetry is set to:
    W3C's ``traceparent`` unless told otherwise. Spans that the model's code makes are below the
    model's. A call of the model for many requests is a span of its own, ``batch NAME``, with a link
    to the call of each; the spans of the model below these link to it.

    Args:
        tracer_provider: that makes the spans; OpenTelemetry's global one by default.

    Raises:
        ImportError: without the extra ``otel``, when it is imported.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer(
            "blazerpc", tracer_provider=tracer_provider, schema_url=_SCHEMA
        )
        self._spans: dict[Call, Span] = {}

    def on_start(self, call: Call) -> None:
        parent = propagate.extract(call.metadata, getter=_METADATA)
        attributes = {**_call_attributes(call), **_peer_attributes(call)}
        name = str(attributes["rpc.method"])
        if not call.known:
            name, attributes["rpc.method_original"] = "grpc", printable(call.method)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        # Never detached: the context ends with the task of the call.
        contexts.attach(trace.set_span_in_context(span, parent))
        self._spans[call] = span
        if (made := span.get_span_context()).is_valid:
            call.trace_id = trace.format_trace_id(made.trace_id)

    def on_finish(self, call: Call) -> None:
        assert call.status is not None
        span = self._spans.pop(call)
        span.set_attributes(_end_attributes(call))
        if call.status in _FAILURES:
            span.set_status(Status(StatusCode.ERROR))
        span.end()

    def observe_model(self, model: ModelInfo) -> ModelObserver:
        return _ModelSpans(self._tracer, model)


class _ModelSpans(ModelObserver):
    """The spans of one model's requests."""

    def __init__(self, tracer: trace.Tracer, model: ModelInfo) -> None:
        self._tracer = tracer
        self._name = model.name
        self._attributes = _model_attributes(model)

    @contextmanager
    def running(self, requests: Sequence[Begun], rows: int) -> Iterator[None]:
        # A copy, since the context of a lone request is the one that this runs in.
        parents = [request.context.copy().run(contexts.get_current) for request in requests]
        begun, now = time.time_ns(), time.monotonic()
        for request, parent in zip(requests, parents, strict=True):
            waited = int((now - request.arrived) * 1e9)
            self._span(f"queue {self._name}", parent, begun - waited, begun)
        attributes: _Attributes = {**self._attributes, "blazerpc.batch.size": rows}
        if len(parents) == 1:
            with self._tracer.start_as_current_span(
                f"model {self._name}", parents[0], attributes=attributes, start_time=begun
            ):
                yield
            return
        links = [Link(made) for p in parents if (made := _context_of(p)).is_valid]
        # A trace of its own: it is part of all of theirs, and a span has one parent.
        with self._tracer.start_as_current_span(
            f"batch {self._name}", Context(), attributes=attributes, links=links, start_time=begun
        ) as batch:
            try:
                yield
            finally:
                ended = time.time_ns()
                to_batch = [Link(batch.get_span_context())]
                for parent in parents:
                    self._span(f"model {self._name}", parent, begun, ended, to_batch)

    def _span(
        self, name: str, parent: Context, begun: int, ended: int, links: Sequence[Link] = ()
    ) -> None:
        """Make a span of what is over; times are nanoseconds since 1970."""
        span = self._tracer.start_span(
            name, parent, attributes=self._attributes, links=links, start_time=begun
        )
        span.end(ended)


class OTelMetricsMiddleware(Middleware):
    """Times every call for OpenTelemetry, and measures the work of every model.

    ``rpc.server.call.duration`` is the conventions'; ``blazerpc.request.size``,
    ``blazerpc.response.size`` and ``blazerpc.requests.in_flight`` go with it. Of models, by name
    and version: ``blazerpc.queue.depth``, ``blazerpc.queue.wait``, ``blazerpc.batch.size``,
    ``blazerpc.model.duration`` and ``blazerpc.requests.dropped``.

    Args:
        meter_provider: that makes the instruments; OpenTelemetry's global one by default.

    Raises:
        ImportError: without the extra ``otel``, when it is imported.
    """

    def __init__(self, meter_provider: MeterProvider | None = None) -> None:
        self._instruments = _Instruments(meter_provider)

    def on_start(self, call: Call) -> None:
        self._instruments.in_flight.add(1, _call_attributes(call))

    def on_finish(self, call: Call) -> None:
        to = self._instruments
        attributes = _call_attributes(call)
        to.in_flight.add(-1, attributes)
        attributes |= _end_attributes(call)
        to.duration.record(call.duration, attributes)
        to.received.record(call.received, attributes)
        to.sent.record(call.sent, attributes)

    def observe_model(self, model: ModelInfo) -> ModelObserver:
        return _ModelMeasures(self._instruments, model)


class _Instruments:
    """All instruments."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = get_meter("blazerpc", meter_provider=provider, schema_url=_SCHEMA)
        self.duration = meter.create_histogram(
            "rpc.server.call.duration",
            "s",
            "Duration of an incoming call.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.received = meter.create_histogram(
            "blazerpc.request.size",
            "By",
            "Bytes of the messages that the client of a call has sent.",
            explicit_bucket_boundaries_advisory=_BYTES,
        )
        self.sent = meter.create_histogram(
            "blazerpc.response.size",
            "By",
            "Bytes of the messages that a call was answered with.",
            explicit_bucket_boundaries_advisory=_BYTES,
        )
        self.in_flight = meter.create_up_down_counter(
            "blazerpc.requests.in_flight", "{call}", "Calls that have begun and not ended."
        )
        self.queue = meter.create_up_down_counter(
            "blazerpc.queue.depth", "{request}", "Requests that wait for their model."
        )
        self.waits = meter.create_histogram(
            "blazerpc.queue.wait",
            "s",
            "Time that a request has waited for its model.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.batches = meter.create_histogram(
            "blazerpc.batch.size",
            "{row}",
            "Rows in one call of the model.",
            explicit_bucket_boundaries_advisory=_ROWS,
        )
        self.compute = meter.create_histogram(
            "blazerpc.model.duration",
            "s",
            "Duration of one call of the model.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.dropped = meter.create_counter(
            "blazerpc.requests.dropped", "{request}", "Requests that the model was not called for."
        )


class _ModelMeasures(ModelObserver):
    """The measurements of one model."""

    def __init__(self, instruments: _Instruments, model: ModelInfo) -> None:
        self._to = instruments
        self._attributes = _model_attributes(model)

    def queue_changed(self, by: int) -> None:
        self._to.queue.add(by, self._attributes)

    def dropped(self, reason: Dropped) -> None:
        self._to.dropped.add(1, {**self._attributes, "blazerpc.reason": reason.value})

    @contextmanager
    def running(self, requests: Sequence[Begun], rows: int) -> Iterator[None]:
        begun = time.monotonic()
        for request in requests:
            self._to.waits.record(begun - request.arrived, self._attributes)
        self._to.batches.record(rows, self._attributes)
        try:
            yield
        finally:
            self._to.compute.record(time.monotonic() - begun, self._attributes)


def _call_attributes(call: Call) -> _Attributes:
    """Return what is known of a call at its beginning."""
    # One that a client makes up would be a series of its own.
    method = call.method.removeprefix("/") if call.known else "_OTHER"
    return {"rpc.system.name": "grpc", "rpc.method": method}


def _peer_attributes(call: Call) -> _Attributes:
    address = call.peer.addr()
    if not isinstance(address, tuple):
        return {}
    host, port = address[:2]
    return {
        "client.address": host,
        "client.port": port,
        "network.peer.address": host,
        "network.peer.port": port,
    }


def _end_attributes(call: Call) -> _Attributes:
    """Return what is known of a call at its end."""
    assert call.status is not None
    status = call.status.name
    failed = {"error.type": status} if call.status in _FAILURES else {}
    return {"rpc.response.status_code": status, **failed}


def _model_attributes(model: ModelInfo) -> Mapping[str, str | int]:
    return {"blazerpc.model.name": model.name, "blazerpc.model.version": model.version}


def _context_of(parent: Context) -> trace.SpanContext:
    return trace.get_current_span(parent).get_span_context()
