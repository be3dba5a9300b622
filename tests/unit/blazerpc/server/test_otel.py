from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Sum,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from blazerpc import BlazeApp
from blazerpc.server import OTelMetricsMiddleware, OTelTracingMiddleware
from blazerpc_client import Internal, Unavailable
from blazerpc_client.otel import traced
from tests.unit.blazerpc.support import PATIENCE, Running, client_of, serving, until

SERVICE = "blazerpc.InferenceService"


class Spans:
    """What was traced."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def of(self, name: str, kind: SpanKind = SpanKind.INTERNAL) -> ReadableSpan:
        (span,) = [span for span in self.named(name) if span.kind is kind]
        return span

    def has(self, name: str, kind: SpanKind) -> bool:
        return any(span.kind is kind for span in self.named(name))


@pytest.fixture
def spans() -> Spans:
    return Spans()


class Gate:
    """Holds a model until it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.open = asyncio.Event()


def make_app(spans: Spans, gate: Gate | None = None) -> BlazeApp:
    app = BlazeApp(middleware=[OTelTracingMiddleware(spans.provider)])
    tracer = spans.provider.get_tracer("a model's own")

    @app.model("double")
    def double(x: int) -> int:
        with tracer.start_as_current_span("inside"):
            return 2 * x

    @app.model("length", batch=True)
    async def length(text: list[str]) -> list[int]:
        with tracer.start_as_current_span("inside a batch"):
            if gate is not None and "held" in text:
                gate.reached.set()
                await gate.open.wait()
        return [len(t) for t in text]

    @app.model("count")
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number
        if to == 1:
            await asyncio.Event().wait()

    @app.model("fail")
    def fail(text: str) -> str:
        raise ValueError(text)

    return app


def in_flight(run: Running) -> int:
    """Return the calls that the server has read."""
    tracker = run.server._tracker
    assert tracker is not None
    return sum(call.received > 0 for call in tracker.in_flight)


def parent_id(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def ids(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


def linked(span: ReadableSpan) -> set[tuple[int, int]]:
    return {(link.context.trace_id, link.context.span_id) for link in span.links}


async def test_one_trace_goes_from_the_client_to_the_model_and_what_it_does(spans: Spans) -> None:
    app = make_app(spans)
    tracer = spans.provider.get_tracer("a caller")
    async with serving(app) as run, client_of(app, run) as client:
        with tracer.start_as_current_span("caller") as caller:
            assert await traced(client, spans.provider).predict("double", x=4) == 8
        method = f"{SERVICE}/PredictDouble"
        await until(lambda: spans.has(method, SpanKind.SERVER))
        port = run.port
    sent, served = spans.of(method, SpanKind.CLIENT), spans.of(method, SpanKind.SERVER)
    queue, model, inside = spans.of("queue double"), spans.of("model double"), spans.of("inside")
    everything = [sent, served, queue, model, inside]
    assert {span.context.trace_id for span in everything} == {caller.get_span_context().trace_id}
    assert parent_id(sent) == caller.get_span_context().span_id
    assert parent_id(served) == sent.context.span_id
    assert parent_id(queue) == parent_id(model) == served.context.span_id
    assert parent_id(inside) == model.context.span_id
    assert model.attributes == {
        "blazerpc.model.name": "double",
        "blazerpc.model.version": "1",
        "blazerpc.batch.size": 1,
    }
    assert sent.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "server.address": "127.0.0.1",
        "server.port": port,
        "rpc.response.status_code": "OK",
    }
    assert served.attributes is not None
    assert served.attributes["rpc.system.name"] == "grpc"
    assert served.attributes["rpc.method"] == method
    assert served.attributes["rpc.response.status_code"] == "OK"
    assert served.attributes["client.address"] == "127.0.0.1"
    # The wait ends where the model begins, within the call.
    assert queue.end_time == model.start_time
    assert (served.start_time or 0) <= (queue.start_time or 0) <= (queue.end_time or 0)
    assert (model.end_time or 0) <= (served.end_time or 0)


async def test_a_batch_is_linked_to_its_requests_and_they_to_it(spans: Spans) -> None:
    gate = Gate()
    app = make_app(spans, gate)
    async with serving(app) as run, client_of(app, run) as client:
        # While one is served, others collect.
        held = asyncio.create_task(client.predict("length", text="held"))
        await gate.reached.wait()
        calls = [asyncio.create_task(client.predict("length", text="a" * n)) for n in (1, 2, 3)]
        await until(lambda: in_flight(run) == 4)
        gate.open.set()
        assert await asyncio.gather(held, *calls) == [4, 1, 2, 3]
        await until(lambda: len(spans.named(f"{SERVICE}/PredictLength")) == 4)
    batch = spans.of("batch length")
    (alone,) = [span for span in spans.named("model length") if not span.links]
    others = {span.context.trace_id for span in spans.named("queue length")}
    others.discard(alone.context.trace_id)
    served = [
        span for span in spans.named(f"{SERVICE}/PredictLength") if span.context.trace_id in others
    ]
    (inside,) = [
        span
        for span in spans.named("inside a batch")
        if span.context.trace_id != alone.context.trace_id
    ]
    models = [span for span in spans.named("model length") if span is not alone]
    assert len({span.context.trace_id for span in served}) == 3
    assert batch.parent is None
    assert batch.attributes is not None
    assert batch.attributes["blazerpc.batch.size"] == 3
    assert linked(batch) == {ids(span) for span in served}
    assert parent_id(inside) == batch.context.span_id
    assert {parent_id(span) for span in models} == {span.context.span_id for span in served}
    assert all(linked(span) == {ids(batch)} for span in models)


async def test_a_lone_request_of_a_batched_model_is_one_trace(spans: Spans) -> None:
    app = make_app(spans)
    async with serving(app) as run, client_of(app, run) as client:
        await traced(client, spans.provider).predict("length", text="ab")
    model, inside = spans.of("model length"), spans.of("inside a batch")
    assert parent_id(inside) == model.context.span_id
    sent = spans.of(f"{SERVICE}/PredictLength", SpanKind.CLIENT)
    assert sent.context.trace_id == model.context.trace_id
    assert not spans.named("batch length")


async def test_a_stream_is_one_span_however_it_ends(spans: Spans) -> None:
    app = make_app(spans)
    async with serving(app) as run, client_of(app, run) as client:
        traced(client, spans.provider)
        assert [number async for number in client.stream("count", to=3)] == [0, 1, 2]
        left = client.stream("count", to=1)
        assert await anext(left) == 0
        await left.aclose()  # type: ignore[attr-defined]  # typed as any iterator
        await until(lambda: len(spans.named("model count")) == 2)
    statuses = [
        (span.attributes or {})["rpc.response.status_code"]
        for span in spans.named(f"{SERVICE}/PredictCount")
        if span.kind is SpanKind.CLIENT
    ]
    assert statuses == ["OK", "CANCELLED"]


async def test_a_failure_is_an_error_on_both_sides(spans: Spans) -> None:
    app = make_app(spans)
    async with serving(app) as run, client_of(app, run) as client:
        with pytest.raises(Internal):
            await traced(client, spans.provider).predict("fail", text="no")
        await until(lambda: spans.has(f"{SERVICE}/PredictFail", SpanKind.SERVER))
    for kind in (SpanKind.CLIENT, SpanKind.SERVER):
        span = spans.of(f"{SERVICE}/PredictFail", kind)
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["error.type"] == "INTERNAL"
    assert spans.of("model fail").status.status_code is StatusCode.ERROR


async def test_a_mistake_of_the_client_is_an_error_of_its_own_span_alone(spans: Spans) -> None:
    async with serving(make_app(spans)) as run:
        await run.failure("Double", b"\xff")
        await run.failure("MadeUp")
    refused = spans.of(f"{SERVICE}/PredictDouble", SpanKind.SERVER)
    assert refused.status.status_code is StatusCode.UNSET
    # The name of a span is no place for what a client makes up.
    unknown = spans.of("grpc", SpanKind.SERVER)
    assert unknown.attributes is not None
    assert unknown.attributes["rpc.method"] == "_OTHER"
    assert unknown.attributes["rpc.method_original"] == f"/{SERVICE}/PredictMadeUp"
    assert unknown.status.status_code is StatusCode.ERROR


async def test_a_server_that_is_not_there_is_unavailable_in_the_span(spans: Spans) -> None:
    app = make_app(spans)
    async with serving(app) as run, client_of(app, run) as client:
        await client.predict("double", x=1)
        await run.stop()
        with pytest.raises(Unavailable):
            await traced(client, spans.provider).predict("double", x=1)
    sent = spans.of(f"{SERVICE}/PredictDouble", SpanKind.CLIENT)
    assert sent.attributes is not None
    assert sent.attributes["error.type"] == "UNAVAILABLE"


@pytest.mark.parametrize("header", ["", "00-0-0-00", "nonsense", "00-" + "f" * 500])
async def test_a_trace_that_cannot_be_read_begins_anew(spans: Spans, header: str) -> None:
    app = make_app(spans)
    async with serving(app) as run, client_of(app, run) as client:
        metadata = {"traceparent": header} if header else {}
        await client.with_options(metadata=metadata).predict("double", x=1)
    assert spans.of(f"{SERVICE}/PredictDouble", SpanKind.SERVER).parent is None


async def measured(run: Running, reader: InMemoryMetricReader) -> dict[str, Any]:
    """Return the points of every metric, by its name."""
    data = reader.get_metrics_data()
    assert data is not None
    (resource,) = data.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric.data for metric in scope.metrics}


def totals(data: object, *keys: str) -> dict[Sequence[object], float]:
    """Return what was counted, by some of its attributes."""
    assert isinstance(data, Histogram | Sum)
    counted: dict[Sequence[object], float] = {}
    for point in data.data_points:
        key = tuple((point.attributes or {})[name] for name in keys)
        counted[key] = point.count if isinstance(point, HistogramDataPoint) else point.value
    return counted


async def test_the_meters_say_what_happened() -> None:
    reader = InMemoryMetricReader()
    app = BlazeApp(middleware=[OTelMetricsMiddleware(MeterProvider([reader]))])

    @app.model("length", batch=True)
    def length(text: list[str]) -> list[int]:
        return [len(t) for t in text]

    async with serving(app) as run, client_of(app, run) as client:
        assert await asyncio.gather(*(client.predict("length", text=t) for t in "abc"))
        await run.failure("Length", b"\xff")
        await run.failure("MadeUp")
        got = await measured(run, reader)
    method = f"{SERVICE}/PredictLength"
    duration = got["rpc.server.call.duration"]
    assert totals(duration, "rpc.method", "rpc.response.status_code") == {
        (method, "OK"): 3,
        (method, "INVALID_ARGUMENT"): 1,
        ("_OTHER", "UNIMPLEMENTED"): 1,
    }
    (sizes,) = [
        point
        for point in got["blazerpc.request.size"].data_points
        if point.attributes["rpc.response.status_code"] == "OK"
    ]
    assert sizes.sum == 3 * 3
    in_flight_now = totals(got["blazerpc.requests.in_flight"], "rpc.method")
    assert in_flight_now == {(method,): 0, ("_OTHER",): 0}
    assert totals(got["blazerpc.queue.depth"], "blazerpc.model.name") == {("length",): 0}
    assert totals(got["blazerpc.queue.wait"], "blazerpc.model.name") == {("length",): 3}
    (batches,) = got["blazerpc.batch.size"].data_points
    assert batches.sum == 3
    (compute,) = got["blazerpc.model.duration"].data_points
    assert compute.count == batches.count


def test_without_the_library_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["opentelemetry"] = None
import blazerpc.server
for what in (
    "blazerpc.server import OTelTracingMiddleware",
    "blazerpc.server import OTelMetricsMiddleware",
    "blazerpc_client.otel import traced",
):
    try:
        exec(f"from {what}")
    except ImportError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE * 6,
    )
    assert done.stdout.count("pip install 'blazerpc[otel]'") == 3
