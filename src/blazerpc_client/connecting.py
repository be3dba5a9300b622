"""One connection to one address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from blazerpc_client.targets import Address, UnixPath

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(address: Address, protocol_factory: Callable[[], P]) -> P:
    """Connect, and return the protocol.

    Raises:
        OSError: when nobody is there.
    """
    loop = asyncio.get_running_loop()
    if isinstance(address, UnixPath):
        _, protocol = await loop.create_unix_connection(protocol_factory, address.path)
    else:
        _, protocol = await loop.create_connection(protocol_factory, address.host, address.port)
    return protocol
