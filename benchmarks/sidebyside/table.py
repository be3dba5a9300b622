"""A run's figures as tables on a terminal."""

from __future__ import annotations

from rich.table import Table

from benchmarks.sidebyside.figures import Figures, Measured, Report
from benchmarks.sidebyside.peers import OURS, REFERENCE


def row_table(row: Measured) -> Table:
    """Return the figures of one row, of each peer."""
    table = Table(title=row.title, title_justify="left")
    table.add_column("", no_wrap=True)
    for figure in (row.plain_unit, f"{row.unit} per CPU s"):
        for column in (figure, f"by\n{REFERENCE}", "by the\nbest peer"):
            table.add_column(column, justify="right")
    for label in row.samples:
        own, reference, best = row.median(label), row.by_reference(label), row.by_best_peer(label)
        table.add_row(
            label,
            f"{own.plain:,.3f}" if row.latency else f"{own.plain:,.0f}",
            _plain(reference),
            _plain(best),
            f"{own.per_cpu:,.0f}",
            _per_cpu(reference),
            _per_cpu(best),
        )
    return table


def summary_table(report: Report) -> Table:
    """Return the ratios of what is ours, of all rows."""
    table = Table(title="BlazeRPC's ratios", title_justify="left")
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    for column in (f"by {REFERENCE}\nper CPU s", "plain", "by the best peer\nper CPU s", "plain"):
        table.add_column(column, justify="right")
    for row in report.rows:
        for label in filter(row.samples.__contains__, OURS):
            reference, best = row.by_reference(label), row.by_best_peer(label)
            cells = (_per_cpu(reference), _plain(reference), _per_cpu(best), _plain(best))
            table.add_row(f"{row.title}, {row.plain_unit}", label, *cells)
    return table


def _plain(ratio: Figures | None) -> str:
    return "-" if ratio is None else f"{ratio.plain:.2f}"


def _per_cpu(ratio: Figures | None) -> str:
    return "-" if ratio is None else f"{ratio.per_cpu:.2f}"
