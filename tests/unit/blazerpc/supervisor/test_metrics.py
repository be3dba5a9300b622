"""The metrics of workers, some of which have died."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import Metric

from blazerpc.supervisor.metrics import WorkerMetrics

# Ends in the middle of a call, without a word.
WORKER = """
import os
from prometheus_client import Gauge

Gauge("busy", "Calls.", multiprocess_mode="livesum").inc()
print(os.getpid(), flush=True)
os._exit(9)
"""


def died_within_a_call(metrics: WorkerMetrics) -> int:
    """Return the process id of a worker that has."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        env={**os.environ, **metrics.environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return int(done.stdout)


def value(families: list[Metric], name: str) -> float:
    samples = [sample for family in families for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name)


def test_a_scrape_that_tells_of_a_restart_has_nothing_that_went_on_before(tmp_path: Path) -> None:
    metrics = WorkerMetrics(str(tmp_path))
    pid = died_within_a_call(metrics)
    scrape = metrics.registry.collect()
    begun = [next(iter(scrape))]
    # The supervisor hears of it in the middle of the scrape.
    metrics.ended(pid)
    metrics.restarted()
    families = [*begun, *scrape]
    assert value(families, "busy") == 0 or value(families, "blazerpc_worker_restarts_total") == 0
    after = list(metrics.registry.collect())
    assert value(after, "busy") == 0
    assert value(after, "blazerpc_worker_restarts_total") == 1
