"""One connection to one address, with TLS or without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from blazerpc_client.targets import Address, UnixPath
from blazerpc_client.tls import ClientSecurity
from blazerpc_client.transport.tls import TLSError, TLSProtocol

P = TypeVar("P", bound=asyncio.Protocol)


async def connect(
    address: Address,
    protocol_factory: Callable[[], P],
    *,
    security: ClientSecurity | None,
    patience: float,
) -> P:
    """Connect, and return the protocol.

    Args:
        address: of the server.
        protocol_factory: makes the protocol.
        security: TLS of the connection; None for plaintext.
        patience: seconds that TLS's handshake may take.

    Raises:
        TLSError: when the handshake fails.
        OSError: when nobody is there.
    """
    if security is None:
        return await _open(address, protocol_factory)
    protocol = protocol_factory()
    secured: asyncio.Future[TLSError | None] = asyncio.get_running_loop().create_future()

    def told(failure: TLSError | None) -> None:
        if not secured.done():  # nobody waits for it when the attempt was cancelled
            secured.set_result(failure)

    layer = TLSProtocol(
        protocol,
        security.contexts.current(),
        server_hostname=security.server_name or address.server_name,
        timeout=patience,
        told=told,
    )
    await _open(address, lambda: layer)
    try:
        failure = await secured
    except asyncio.CancelledError:
        layer.abort()
        raise
    if failure is not None:
        raise failure
    return protocol


async def _open(address: Address, protocol_factory: Callable[[], P]) -> P:
    loop = asyncio.get_running_loop()
    if isinstance(address, UnixPath):
        _, protocol = await loop.create_unix_connection(protocol_factory, address.path)
    else:
        _, protocol = await loop.create_connection(protocol_factory, address.host, address.port)
    return protocol
