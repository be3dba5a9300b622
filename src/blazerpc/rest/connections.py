"""Connections of HTTP, with the bounds that those of gRPC have and uvicorn's do not."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from blazerpc_client.transport.limits import Limits

#: Connections at one time, where the limits allow any number.
_MAX_CONNECTIONS: Final = 1024

_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class LimitedConfig(uvicorn.Config):
    """uvicorn's configuration, for connections with limits.

    Args:
        limits: ``max_connections``, ``handshake_timeout`` for the head of a request to come, and
            ``stall_timeout`` for a client to read.
        options: of uvicorn.
    """

    def __init__(self, app: Any, limits: Limits, **options: Any) -> None:
        super().__init__(app, http=_Connection, **options)
        self.limits = limits


class _Connection(H11Protocol):
    """A connection that ends when its client lets it wait too long."""

    config: LimitedConfig
    _asking: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    # uvicorn's type is narrower than asyncio's, too.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        most = self.config.limits.max_connections or _MAX_CONNECTIONS
        full = len(self.connections) >= most
        super().connection_made(transport)
        if full:
            transport.write(_FULL)
            transport.close()
        else:
            self._watch_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _cancel(self._asking)
        _cancel(self._stalled)

    def pause_writing(self) -> None:
        super().pause_writing()
        patience = self.config.limits.stall_timeout
        if patience is not None:
            self._stalled = self.loop.call_later(patience, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._stalled)

    def _watch_request(self) -> None:
        """Bound the time from a request's first byte to the end of its head."""
        # uvicorn's type leaves out that there is no cycle at first.
        if self.cycle is not None and not self.cycle.response_complete:  # type: ignore[redundant-expr]
            _cancel(self._asking)
            self._asking = None
        elif self._asking is None:
            patience = self.config.limits.handshake_timeout
            self._asking = self.loop.call_later(patience, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
