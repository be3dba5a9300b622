"""TLS on the command line. ``blaze health`` imports it: it imports little."""

from __future__ import annotations

from pathlib import Path

from blazerpc.exceptions import ConfigurationError
from blazerpc.tls import ServerTLS
from blazerpc_client.errors import InvalidArgument
from blazerpc_client.tls import TLS, ClientTLS


def client_tls(
    tls: bool, ca: Path | None, cert: Path | None, key: Path | None, server_name: str | None
) -> TLS:
    """Return what a client's options stand for; any of them asks for TLS.

    Raises:
        InvalidArgument: when they do not go together.
    """
    if not (tls or ca or cert or key or server_name is not None):
        return None
    if (cert is None) != (key is None):
        raise InvalidArgument("--cert and --key go together", field="tls")
    return ClientTLS(ca=ca, cert=cert, key=key, server_name=server_name)


def server_tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> ServerTLS | None:
    """Return what a server's options stand for.

    Raises:
        ConfigurationError: when they do not go together.
    """
    if cert is not None and key is not None:
        return ServerTLS(cert=cert, key=key, client_ca=client_ca)
    if (cert, key) != (None, None):
        raise ConfigurationError("--tls-cert and --tls-key go together")
    if client_ca is not None:
        raise ConfigurationError("--tls-client-ca needs --tls-cert and --tls-key")
    return None
