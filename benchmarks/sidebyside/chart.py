"""A run as an SVG chart: for each row, how many times grpcio.aio's work each peer does."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from benchmarks.sidebyside.figures import Measured, Report
from benchmarks.sidebyside.peers import OURS, REFERENCE

_WIDTH: Final = 760
_LABELS: Final = 190  # where the bars begin
_BAR: Final = 16
_STEP: Final = 20
_TITLE: Final = 26  # height of a row's title
_GAP: Final = 14

# The page around decides on light or dark; colours of the text have to follow it.
_STYLE: Final = """\
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 }
.note { font-size: 12px; fill: #57606a }
.bar { fill: #b6bec8 }
.ours { fill: #d9480f }
.one { stroke: #57606a; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.note { fill: #9198a1 }
.bar { fill: #545d68 }
.ours { fill: #f76707 }
.one { stroke: #9198a1 }
}"""


def chart(report: Report) -> str:
    """Return the chart of all rows that have a figure of grpcio.aio."""
    rows = [row for row in report.rows if REFERENCE in row.samples]
    widest = max((value for row in rows for value in _values(row).values()), default=1.0)
    scale = (_WIDTH - _LABELS - 60) / widest
    body: list[str] = []
    top = 48
    for row in rows:
        body.extend(_row(row, top, scale))
        top += _height(row)
    notes = [
        f"By {REFERENCE}, which is 1: work for each second of CPU time; longer is better.",
        "Latency is the median time of a call, by its: shorter is better.",
    ]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img"'
        f' aria-label="BlazeRPC beside other gRPC servers and clients">',
        f"<style>{_STYLE}</style>",
        *(
            f'<text class="note" x="0" y="{16 + 16 * line}">{escape(note)}</text>'
            for line, note in enumerate(notes)
        ),
    ]
    return "\n".join([*head, *body, "</svg>"]) + "\n"


def _values(row: Measured) -> dict[str, float]:
    """Return the ratio that is drawn for each peer."""
    ratios = {label: row.by_reference(label) for label in row.samples}
    return {
        label: each.plain if row.latency else each.per_cpu
        for label, each in ratios.items()
        if each is not None
    }


def _height(row: Measured) -> int:
    return _TITLE + _STEP * len(_values(row)) + _GAP


def _row(row: Measured, top: int, scale: float) -> Iterator[str]:
    yield f'<text class="title" x="0" y="{top + 16}">{escape(row.title)}</text>'
    values = _values(row)
    for number, (label, value) in enumerate(values.items()):
        y = top + _TITLE + _STEP * number
        kind = "bar ours" if label in OURS else "bar"
        width = value * scale
        yield f'<text x="{_LABELS - 10}" y="{y + 13}" text-anchor="end">{escape(label)}</text>'
        yield (
            f'<rect class="{kind}" x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}"'
            f' rx="2"/>'
        )
        yield f'<text x="{_LABELS + width + 6:.1f}" y="{y + 13}">{value:.2f}</text>'
    one, first = _LABELS + scale, top + _TITLE
    last = first + _STEP * len(values)
    yield f'<line class="one" x1="{one:.1f}" x2="{one:.1f}" y1="{first - 4}" y2="{last}"/>'
