"""The metrics of all workers, added up.

Each worker keeps its numbers in files of a directory, as prometheus_client does where
``PROMETHEUS_MULTIPROC_DIR`` is set when it is imported; they outlive it, so that totals never go
down. https://prometheus.github.io/client_python/multiprocess/
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from blazerpc.endpoint import metrics_endpoint


class WorkerMetrics(Collector):
    """The numbers of the workers, and those that only their supervisor knows.

    Args:
        directory: for the workers' files.
        url: where they are served; set once they are.
    """

    def __init__(self, directory: str, url: str = "") -> None:
        self.url: str = url
        self._directory = directory
        self._restarts = 0
        self.registry: CollectorRegistry = CollectorRegistry()
        # A scrape asks in this order, on a thread of its own: who reads of a restart must not read
        # of what the worker before it was in the middle of.
        self.registry.register(self)
        MultiProcessCollector(self.registry, directory)  # type: ignore[no-untyped-call]  # untyped

    @classmethod
    @contextmanager
    def served(cls, host: str, port: int) -> Iterator[Self]:
        """Serve the metrics until the end of the block.

        Raises:
            ConfigurationError: when the address cannot be had.
        """
        with tempfile.TemporaryDirectory(prefix="blazerpc-metrics-") as directory:
            metrics = cls(directory)
            with metrics_endpoint(host, port, metrics.registry) as metrics.url:
                yield metrics

    @property
    def environment(self) -> Mapping[str, str]:
        """What a worker's environment needs."""
        return {"PROMETHEUS_MULTIPROC_DIR": self._directory}

    def restarted(self) -> None:
        """Count a worker that is started again, since it had ended by itself."""
        self._restarts += 1

    def ended(self, pid: int) -> None:
        """Take what a process was in the middle of out of the numbers; its totals stay."""
        mark_process_dead(pid, self._directory)  # type: ignore[no-untyped-call]  # untyped

    def collect(self) -> Iterator[Metric]:
        """Yield what the supervisor itself counts."""
        what = "Workers that were started again after they had ended by themselves."
        yield CounterMetricFamily("blazerpc_worker_restarts", what, value=self._restarts)
