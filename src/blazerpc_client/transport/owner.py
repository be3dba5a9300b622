"""Who is at either end of a connection: this side's owner of it, and the peer."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Any, cast

from grpclib.protocol import Peer

from blazerpc_client.transport.headers import Fields
from blazerpc_client.transport.stream import TransportStream


class StreamHandler(ABC):
    """What a connection tells its owner: a server's handlers, or a client's channel."""

    @abstractmethod
    def accept(self, stream: TransportStream, headers: Fields) -> None:
        """Serve a request."""

    @abstractmethod
    def cancel(self, stream: TransportStream) -> None:
        """Give a request up: its stream was reset."""

    def greeted(self) -> None:  # noqa: B027 - a server has nothing to do then
        """Take note that the peer has said hello: its settings have come."""

    @abstractmethod
    def close(self) -> None:
        """Take note that the connection takes no more calls."""


class KnownPeer(Peer):
    """grpclib's peer, asking the system for the address once and not at every call."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._address: Any = transport.get_extra_info("peername")

    def addr(self) -> tuple[str, int] | None:
        """Return the address, also after the connection was closed."""
        return cast("tuple[str, int] | None", self._address)
