"""The service on grpcio's server of threads, with four of them."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from benchmarks.sidebyside.servers.grpcio_handlers import handlers
from benchmarks.sidebyside.servers.life import announce


def _behaviour(function: Any) -> Any:
    return lambda request, context: function(request)


def serve() -> None:
    """Serve until SIGTERM."""
    # Blocked before a thread is made, so that none of them takes it: this one waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((handlers(_behaviour, _behaviour),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    announce(port)
    signal.sigwait({signal.SIGTERM})
    server.stop(grace=1).wait()


if __name__ == "__main__":
    serve()
