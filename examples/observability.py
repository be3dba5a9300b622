"""What a server tells: one trace from the caller to the model, and metrics of two processes."""

from __future__ import annotations

import asyncio
import socket
import urllib.request

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from blazerpc import BlazeApp, BlazeClient, ServeOptions
from blazerpc.server import OTelTracingMiddleware
from blazerpc_client.otel import traced
from examples.process import served

CLIENTS, CALLS = 8, 25


def main() -> int:
    """Run the demo; return 0 when there was one trace, and every call was counted once."""
    console = Console(width=110)
    return 0 if one_trace(console) and all_counted(console) else 1


def one_trace(console: Console) -> bool:
    """Make a traced call of a traced server; tell if all spans are of one trace."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    asyncio.run(_call_traced(provider))
    spans = exporter.get_finished_spans()
    table = Table("span", "kind", "trace id", "ms")
    for span in sorted(spans, key=lambda span: span.start_time or 0):
        milliseconds = f"{_milliseconds(span):.2f}"
        table.add_row(span.name, span.kind.name.lower(), _trace_id(span), milliseconds)
    console.print(table)
    return len(spans) == 4 and len({_trace_id(span) for span in spans}) == 1


async def _call_traced(provider: TracerProvider) -> None:
    app = BlazeApp(middleware=[OTelTracingMiddleware(provider)])

    @app.model("shout")
    def shout(text: str) -> str:
        return text.upper()

    server = app.server(ServeOptions(port=0))
    await server.listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.wait())
    async with traced(BlazeClient("127.0.0.1", server.port, app.registry), provider) as client:
        await client.predict("shout", text="hello")
    await server.stop()
    await serving


def all_counted(console: Console) -> bool:
    """Call two processes over several connections; tell if their metrics add up to the calls."""
    port = _free_port()
    options = ("--workers", "2", "--metrics-port", str(port))
    console.print(f"$ blaze serve examples.app:app --port 0 {' '.join(options)}", style="bold")
    with served("examples.app:app", *options) as target:
        asyncio.run(_call_often(target))
        counted = _counted(f"http://127.0.0.1:{port}/metrics")
    console.print(f"{CLIENTS * CALLS} calls made, {counted:.0f} counted.")
    return counted == CLIENTS * CALLS


async def _call_often(target: str) -> None:
    host, _, port = target.rpartition(":")

    async def call() -> None:
        async with BlazeClient(host, int(port)) as client:
            for _ in range(CALLS):
                await client.predict("sentiment", text="What a great day!")

    await asyncio.gather(*(call() for _ in range(CLIENTS)))


def _counted(url: str) -> float:
    with urllib.request.urlopen(url) as response:
        families = text_string_to_metric_families(response.read().decode())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "blazerpc_requests_total"
            and sample.labels["method"].endswith("/PredictSentiment")
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _trace_id(span: ReadableSpan) -> str:
    return format_trace_id(span.context.trace_id)


def _milliseconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e6


if __name__ == "__main__":
    raise SystemExit(main())
