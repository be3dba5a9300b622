"""Samples of a run, and what they come to: medians and ratios."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.sidebyside.peers import OURS, REFERENCE


@dataclass(frozen=True)
class Figures:
    """One round, or the median of rounds.

    Attributes:
        plain: units a second, or in a row of latency the median time of a call in milliseconds.
        per_cpu: units for each second of CPU time.
    """

    plain: float
    per_cpu: float

    def divided_by(self, other: Figures) -> Figures:
        """Return the two ratios."""
        return Figures(self.plain / other.plain, self.per_cpu / other.per_cpu)


@dataclass(frozen=True)
class Measured:
    """One row: the samples of each peer, by its label.

    Attributes:
        name: on the command line.
        title: in tables.
        unit: what is counted.
        latency: whether the plain figure is a time, of which less is better.
        samples: one for each round.
    """

    name: str
    title: str
    unit: str
    latency: bool
    samples: dict[str, list[Figures]]

    @property
    def plain_unit(self) -> str:
        """What the plain figure is."""
        return "p50 ms" if self.latency else f"{self.unit}/s"

    def median(self, label: str) -> Figures:
        """Return the medians of a peer's rounds, each figure by itself."""
        rounds = self.samples[label]
        return Figures(
            statistics.median(sample.plain for sample in rounds),
            statistics.median(sample.per_cpu for sample in rounds),
        )

    def by_reference(self, label: str) -> Figures | None:
        """Return a peer's medians divided by those of grpcio.aio, if that was measured."""
        if REFERENCE not in self.samples:
            return None
        return self.median(label).divided_by(self.median(REFERENCE))

    def by_best_peer(self, label: str) -> Figures | None:
        """Return a peer's medians divided by the best, each, that others than ours have."""
        peers = [self.median(peer) for peer in self.samples if peer not in OURS]
        if not peers:
            return None
        best = min if self.latency else max
        return self.median(label).divided_by(
            Figures(best(peer.plain for peer in peers), max(peer.per_cpu for peer in peers))
        )


@dataclass(frozen=True)
class Report:
    """A whole run, and what it was made with.

    Attributes:
        date: of its beginning, in ISO 8601.
        machine: processor, cores, system, Python.
        load: what called the servers.
        pinned: whether servers and load each had cores of their own.
        seconds: of a round.
        versions: of each peer's packages, servers first.
        rows: what was measured.
    """

    date: str
    machine: dict[str, str]
    load: str
    pinned: bool
    seconds: float
    versions: dict[str, dict[str, str]]
    rows: list[Measured]

    def to_json(self) -> str:
        """Return all of it, and beside the samples what they come to."""
        content = asdict(self)
        for row, entry in zip(self.rows, content["rows"], strict=True):
            for figure in (row.median, row.by_reference, row.by_best_peer):
                found = {label: figure(label) for label in row.samples}
                entry[figure.__name__] = {
                    label: None if each is None else asdict(each) for label, each in found.items()
                }
        return json.dumps(content, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Return the report that ``to_json`` has written."""
        content: dict[str, Any] = json.loads(text)
        rows = [
            Measured(
                row["name"],
                row["title"],
                row["unit"],
                row["latency"],
                {
                    label: [Figures(**sample) for sample in samples]
                    for label, samples in row["samples"].items()
                },
            )
            for row in content.pop("rows")
        ]
        return cls(**content, rows=rows)
