"""Calls and models in numbers, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Final

from grpclib.const import Status
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from blazerpc.runtime.model import ModelInfo
from blazerpc.runtime.observer import Begun, Dropped, ModelObserver
from blazerpc.server.calls import Call
from blazerpc.server.middleware.base import Middleware

#: Stands for the rpcs that a server does not have: a label that clients could make up would grow
#: without bound.
OTHER: Final = "_OTHER"

# From a batch's least to the slowest of models: half a millisecond to a minute.
_SECONDS: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_BYTES: Final = tuple(4.0**power for power in range(3, 14))  # 64 B to 64 MiB
_ROWS: Final = tuple(2.0**power for power in range(11))  # 1 to 1024


class MetricsMiddleware(Middleware):
    """Counts and times every call, and the work of every model, for Prometheus.

    ``blazerpc_requests_total{method, status}`` and
    ``blazerpc_request_duration_seconds{method}``, where the method is the path of the rpc
    (``_OTHER`` for those that the server does not have) and the status its name; calls in flight,
    bytes in and out. For each model, by name and version: its queue, its batches, its time, and the
    requests that it was not called for.

    Args:
        registry: that the metrics are registered in.

    Attributes:
        registry: likewise.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.registry: CollectorRegistry = registry
        self._metrics = _metrics(registry)
        self._methods: dict[str, _Method] = {}

    def on_start(self, call: Call) -> None:
        self._method(call).in_flight.inc()

    def on_finish(self, call: Call) -> None:
        assert call.status is not None
        method = self._method(call)
        method.in_flight.dec()
        method.count(call.status)
        method.duration.observe(call.duration)
        method.received.observe(call.received)
        method.sent.observe(call.sent)

    def observe_model(self, model: ModelInfo) -> ModelObserver:
        return _ModelMetrics(self._metrics, model)

    def _method(self, call: Call) -> _Method:
        path = call.method if call.known else OTHER
        if path not in self._methods:
            self._methods[path] = _Method(self._metrics, path)
        return self._methods[path]


class _Metrics:
    """All metrics, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        method, model = ["method"], ["model", "version"]
        self.requests = Counter(
            "blazerpc_requests_total",
            "Calls that have ended, by rpc and status.",
            [*method, "status"],
            registry=registry,
        )
        self.durations = Histogram(
            "blazerpc_request_duration_seconds",
            "Seconds from the headers of a call to its trailers.",
            method,
            registry=registry,
            buckets=_SECONDS,
        )
        # Of processes that are gone, nothing is in flight and nothing waits.
        self.in_flight = Gauge(
            "blazerpc_requests_in_flight",
            "Calls that have begun and not ended.",
            method,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.received = Histogram(
            "blazerpc_request_size_bytes",
            "Bytes of the messages that the client of a call has sent.",
            method,
            registry=registry,
            buckets=_BYTES,
        )
        self.sent = Histogram(
            "blazerpc_response_size_bytes",
            "Bytes of the messages that a call was answered with.",
            method,
            registry=registry,
            buckets=_BYTES,
        )
        self.queue = Gauge(
            "blazerpc_queue_depth",
            "Requests that wait for their model.",
            model,
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.waits = Histogram(
            "blazerpc_queue_wait_seconds",
            "Seconds that a request has waited for its model.",
            model,
            registry=registry,
            buckets=_SECONDS,
        )
        self.batches = Histogram(
            "blazerpc_batch_size",
            "Rows in one call of the model: of tensors, or requests.",
            model,
            registry=registry,
            buckets=_ROWS,
        )
        self.compute = Histogram(
            "blazerpc_model_duration_seconds",
            "Seconds of one call of the model, which may serve many requests.",
            model,
            registry=registry,
            buckets=_SECONDS,
        )
        self.dropped = Counter(
            "blazerpc_requests_dropped_total",
            "Requests that the model was not called for: no room, deadline over, caller gone.",
            [*model, "reason"],
            registry=registry,
        )


@cache  # a registry takes each metric once, however many servers count in it
def _metrics(registry: CollectorRegistry) -> _Metrics:
    return _Metrics(registry)


class _Method:
    """The metrics of one rpc: looking them up by label takes longer than counting."""

    def __init__(self, metrics: _Metrics, path: str) -> None:
        self._path = path
        self._requests = metrics.requests
        self._by_status: dict[Status, Counter] = {}
        self.in_flight = metrics.in_flight.labels(path)
        self.duration = metrics.durations.labels(path)
        self.received = metrics.received.labels(path)
        self.sent = metrics.sent.labels(path)

    def count(self, status: Status) -> None:
        if status not in self._by_status:
            self._by_status[status] = self._requests.labels(self._path, status.name)
        self._by_status[status].inc()


class _ModelMetrics(ModelObserver):
    """The metrics of one model."""

    def __init__(self, metrics: _Metrics, model: ModelInfo) -> None:
        labels = (model.name, model.version)
        self._queue = metrics.queue.labels(*labels)
        self._waits = metrics.waits.labels(*labels)
        self._batches = metrics.batches.labels(*labels)
        self._compute = metrics.compute.labels(*labels)
        self._dropped = {why: metrics.dropped.labels(*labels, why.value) for why in Dropped}

    def queue_changed(self, by: int) -> None:
        self._queue.inc(by)

    def dropped(self, reason: Dropped) -> None:
        self._dropped[reason].inc()

    @contextmanager
    def running(self, requests: Sequence[Begun], rows: int) -> Iterator[None]:
        begun = time.monotonic()
        for request in requests:
            self._waits.observe(begun - request.arrived)
        self._batches.observe(rows)
        try:
            yield
        finally:
            self._compute.observe(time.monotonic() - begun)
