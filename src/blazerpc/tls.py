"""TLS of a server."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from blazerpc.exceptions import ConfigurationError
from blazerpc_client.tls import Contexts, given, new_context, paths, show, trust


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLS:
    """How a server shows who it is, and which clients it takes; all files are PEM.

    They are read again when they change, for the connections from then on.

    Attributes:
        cert: the server's certificate, and those between it and its authority.
        key: its private key, without a passphrase.
        client_ca: certificates of the authorities that clients' certificates must be signed by;
            None asks clients for none.
    """

    cert: Path | str
    key: Path | str
    client_ca: Path | str | None = None


def server_contexts(tls: ServerTLS | ssl.SSLContext) -> Contexts:
    """Return the contexts of a server's connections.

    Raises:
        ConfigurationError: when a file cannot be used, or a context is none of a server.
    """
    try:
        if isinstance(tls, ssl.SSLContext):
            return Contexts(given(tls, server=True))
        files = paths(tls.cert, tls.key, tls.client_ca)
        return Contexts(lambda: _server_context(tls), files)
    except ValueError as error:
        raise ConfigurationError(f"TLS: {error}") from None


def _server_context(tls: ServerTLS) -> ssl.SSLContext:
    context = new_context(ssl.PROTOCOL_TLS_SERVER)
    show(context, tls.cert, tls.key)
    if tls.client_ca is not None:
        trust(context, tls.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
