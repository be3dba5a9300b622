"""The HTTP endpoint that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from blazerpc.exceptions import ConfigurationError


@contextmanager
def metrics_endpoint(host: str, port: int, registry: CollectorRegistry) -> Iterator[str]:
    """Serve the metrics of a registry, on a thread; give their URL.

    Args:
        host: address to listen on.
        port: likewise; 0 lets the system choose.
        registry: whose metrics are served.

    Raises:
        ConfigurationError: when the address cannot be had.
    """
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(f"cannot serve metrics on {host}:{port}: {reason}") from error
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
