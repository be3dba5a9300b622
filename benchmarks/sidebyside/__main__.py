"""``python -m benchmarks.sidebyside``: servers and clients beside each other, in one run."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.sidebyside.chart import chart
from benchmarks.sidebyside.load import BenchmarkError
from benchmarks.sidebyside.measure import Options, run
from benchmarks.sidebyside.peers import CLIENTS, ROOT, SERVERS
from benchmarks.sidebyside.rows import ROWS
from benchmarks.sidebyside.table import summary_table

#: Where the results go unless told otherwise: git ignores it.
OUTPUT: Final = ROOT / "build" / "bench"

NAMES: Final = tuple(dict.fromkeys(peer.name for peer in (*SERVERS, *CLIENTS)))


def main() -> int:
    """Measure, print tables, and write ``sidebyside.json`` and ``sidebyside.svg``.

    Returns:
        The exit code: 1 when a server or client failed, or nothing could be measured.
    """
    args = _parser().parse_args()
    if sys.platform != "linux":
        print("The side-by-side benchmarks read CPU times from Linux's /proc.", file=sys.stderr)
        return 1
    # So that what was started is ended, whichever way this process is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console()
    console.width = max(console.width, 120)
    try:
        report, problems = run(_options(args), console)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    console.print(summary_table(report))
    args.output.mkdir(parents=True, exist_ok=True)
    for name, content in (("json", report.to_json()), ("svg", chart(report))):
        path = args.output / f"sidebyside.{name}"
        path.write_text(content)
        console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, prog="python -m benchmarks.sidebyside", allow_abbrev=False
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="one short round of each: a check that all works")
    add("--rounds", type=_positive, help="of each row; medians are of these (default: 7)")
    add(
        "--only",
        action="append",
        metavar="ROW",
        choices=[row.name for row in ROWS],
        help=f"a row to measure, may be repeated: {', '.join(row.name for row in ROWS)}",
    )
    add(
        "--servers",
        type=_peers,
        default=NAMES,
        metavar="NAME,...",
        help=f"servers and clients to measure: {', '.join(NAMES)}",
    )
    add("--output", type=Path, default=OUTPUT, help=f"directory of the results (default: {OUTPUT})")
    return parser


def _options(args: argparse.Namespace) -> Options:
    rounds, seconds = (1, 0.2) if args.quick else (7, 2.0)
    rows = [row for row in ROWS if args.only is None or row.name in args.only]
    return Options(rows, args.servers, args.rounds or rounds, seconds)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(NAMES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
