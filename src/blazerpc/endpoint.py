"""The HTTP endpoint that Prometheus reads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from blazerpc.exceptions import ConfigurationError

#: Connections at once; each has a thread. Others are closed.
_MOST: Final = 32

#: Seconds that a connection may say nothing.
_PATIENCE: Final = 10.0


@contextmanager
def metrics_endpoint(
    host: str, port: int, registry: CollectorRegistry, *, patience: float = _PATIENCE
) -> Iterator[str]:
    """Serve the metrics of a registry, on threads; give their URL.

    Args:
        host: address to listen on.
        port: likewise; 0 lets the system choose.
        registry: whose metrics are served.
        patience: seconds that a connection may say nothing.

    Raises:
        ConfigurationError: when the address cannot be had.
    """
    try:
        server = _Server(host, port, registry, patience)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(f"cannot serve metrics on {host}:{port}: {reason}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(WSGIRequestHandler):
    """Answers a connection, and logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Do nothing."""


class _Server(ThreadingMixIn, WSGIServer):
    """prometheus_client's own has a thread for each connection, as long as that likes."""

    daemon_threads = True
    request_queue_size = (
        128  # of 5, the system drops what comes at once, and it comes a second later
    )

    def __init__(self, host: str, port: int, registry: CollectorRegistry, patience: float) -> None:
        self._patience = patience
        self._free = threading.Semaphore(_MOST)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family = found[0][0]
        super().__init__((host, port), _Handler)
        self.set_app(make_wsgi_app(registry))

    def process_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(self._patience)
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: who hangs up, or says nothing, is no fault of this side's."""
