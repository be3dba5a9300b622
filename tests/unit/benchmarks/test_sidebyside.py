"""What the samples of a run come to, and how that is shown."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

from rich.console import Console

from benchmarks.sidebyside.chart import chart
from benchmarks.sidebyside.figures import Figures, Measured, Report
from benchmarks.sidebyside.rows import ROWS
from benchmarks.sidebyside.table import row_table, summary_table

SVG = "{http://www.w3.org/2000/svg}"

RATE = Measured(
    "unary",
    "unary echo",
    "calls",
    False,
    {
        "BlazeRPC": [Figures(30, 40), Figures(10, 41), Figures(20, 90)],
        "grpcio.aio": [Figures(10, 20)],
        "grpclib": [Figures(16, 10)],
    },
)
LATENCY = Measured(
    "latency",
    "one in flight",
    "calls",
    True,
    {"BlazeRPC": [Figures(0.1, 3)], "grpcio.aio": [Figures(0.2, 2)], "grpclib": [Figures(0.4, 6)]},
)
ALONE = Measured("client", "clients & <others>", "calls", False, {"BlazeRPC": [Figures(5, 5)]})
REPORT = Report(
    "2026-01-02T03:04:05+00:00",
    {"processor": "one", "cores": "2"},
    "h2load",
    True,
    2.0,
    {"grpcio.aio": {"grpcio": "1.80"}},
    [RATE, LATENCY, ALONE],
)


def printed(*tables: object) -> str:
    file = io.StringIO()
    Console(file=file, width=160).print(*tables)
    return file.getvalue()


def test_ratios_are_of_medians_each_figure_by_itself() -> None:
    assert RATE.median("BlazeRPC") == Figures(20, 41)
    assert RATE.by_reference("BlazeRPC") == Figures(2.0, 41 / 20)
    # The best peer of each figure: they are not the same one.
    assert RATE.by_best_peer("BlazeRPC") == Figures(20 / 16, 41 / 20)


def test_of_latencies_the_least_is_the_best() -> None:
    assert LATENCY.by_best_peer("BlazeRPC") == Figures(0.5, 0.5)


def test_without_others_there_is_no_ratio() -> None:
    assert ALONE.by_reference("BlazeRPC") is None
    assert ALONE.by_best_peer("BlazeRPC") is None


def test_a_report_is_read_as_it_was_written() -> None:
    text = REPORT.to_json()
    assert Report.from_json(text) == REPORT
    rate = json.loads(text)["rows"][0]
    assert rate["median"]["BlazeRPC"] == {"plain": 20, "per_cpu": 41}
    assert rate["by_reference"]["grpclib"] == {"plain": 1.6, "per_cpu": 0.5}


def test_a_row_has_a_line_for_each_peer() -> None:
    text = printed(row_table(RATE)).replace("│", " ")
    lines = [line.split() for line in text.splitlines()]
    assert ["BlazeRPC", "20", "2.00", "1.25", "41", "2.05", "2.05"] in lines
    assert ["grpclib", "16", "1.60", "1.00", "10", "0.50", "0.50"] in lines


def test_the_summary_has_what_is_ours() -> None:
    text = printed(summary_table(REPORT))
    assert "unary echo, calls/s" in text
    assert "one in flight, p50 ms" in text
    assert "grpclib" not in text


def test_the_chart_has_a_bar_for_each_peer_beside_the_reference() -> None:
    root = ElementTree.fromstring(chart(REPORT))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert [text for text in texts if text in ("unary echo", "one in flight")] == [
        "unary echo",
        "one in flight",
    ]
    widths = [float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")]
    # By the work of a CPU second; of latency, by its time.
    ratios = [2.05, 1, 0.5, 0.5, 1, 2]
    assert [round(width / widths[1], 2) for width in widths] == ratios
    assert [text for text in texts if text in ("2.05", "0.50")] == ["2.05", "0.50", "0.50"]


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
