"""TLS of a client, and what both sides have in common: contexts that follow their files."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from blazerpc_client.errors import InvalidArgument
from blazerpc_client.transport.tls import ALPN

log: logging.Logger = logging.getLogger("blazerpc_client.tls")

#: Of TLS 1.2, those with forward secrecy and authenticated encryption: RFC 9113, section 9.2.2.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLS:
    """How a client knows its server, and shows who it is; all files are PEM.

    Attributes:
        ca: certificates of the authorities that are trusted; None for the system's.
        cert: the client's own certificate, and those between it and its authority.
        key: its private key, without a passphrase.
        server_name: that the server's certificate must be for; None for the host of the target.

    Raises:
        InvalidArgument: for a certificate without a key, or a key without one.
    """

    ca: Path | str | None = None
    cert: Path | str | None = None
    key: Path | str | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise InvalidArgument("tls: cert and key go together", field="tls")
        if self.server_name == "":
            raise InvalidArgument("tls: server_name is empty", field="tls")


#: What a client takes: True for the system's authorities, False or None for no TLS.
TLS = bool | ClientTLS | ssl.SSLContext | None


class Contexts:
    """The context of new connections, made again when one of its files has changed.

    What cannot be made is logged, and the one before kept.

    Args:
        make: makes it; raises ``ValueError`` when a file does not fit.
        files: that it is made of.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], files: Sequence[Path] = ()) -> None:
        self._make = make
        self._files = files
        # Before they are read: a change while they are read is one that is seen the next time.
        self._seen = self._state()
        self._context = make()

    def current(self) -> ssl.SSLContext:
        """Return the context, of the files as they are now."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            try:
                self._context = self._make()
            except (OSError, ValueError) as error:  # a file may go while it is read
                log.error("keeping the certificates as they were: %s", error)
            else:
                log.info("certificates have changed, and were read again")
        return self._context

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_state_of(file) for file in self._files]


def _state_of(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, slots=True)
class ClientSecurity:
    """The TLS of a client's connections."""

    contexts: Contexts
    server_name: str | None = None


def client_security(tls: TLS) -> ClientSecurity | None:
    """Return what ``tls`` stands for.

    Raises:
        InvalidArgument: when a file cannot be used, or a context is none of a client.
    """
    if tls is None or tls is False:
        return None
    try:
        if isinstance(tls, ssl.SSLContext):
            return ClientSecurity(Contexts(given(tls, server=False)))
        options = ClientTLS() if tls is True else tls
        files = paths(options.ca, options.cert, options.key)
        return ClientSecurity(
            Contexts(lambda: _client_context(options), files), options.server_name
        )
    except ValueError as error:
        raise InvalidArgument(f"tls: {error}", field="tls") from None


def _client_context(tls: ClientTLS) -> ssl.SSLContext:
    context = new_context(ssl.PROTOCOL_TLS_CLIENT)
    if tls.ca is None:
        context.load_default_certs()
    else:
        trust(context, tls.ca)
    if tls.cert is not None and tls.key is not None:
        show(context, tls.cert, tls.key)
    return context


# What both sides make contexts with.


def new_context(protocol: ssl._SSLMethod) -> ssl.SSLContext:
    """Return a context for HTTP/2: TLS 1.2 or newer, ALPN ``h2``."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # RFC 9113, section 9.2.1
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols([ALPN])
    return context


def given(context: ssl.SSLContext, *, server: bool) -> Callable[[], ssl.SSLContext]:
    """Return what gives a context of the user's, with ALPN ``h2``.

    Raises:
        ValueError: when it is none of that side, or allows what is older than TLS 1.2.
    """
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        raise ValueError("the context allows what is older than TLS 1.2: set its minimum_version")
    right = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    if context.protocol not in (right, ssl.PROTOCOL_TLS):
        raise ValueError(f"the context is not made with {right.name}")
    context.set_alpn_protocols([ALPN])
    return lambda: context


def paths(*files: Path | str | None) -> list[Path]:
    """Return the files that there are."""
    return [Path(file) for file in files if file is not None]


def trust(context: ssl.SSLContext, ca: Path | str) -> None:
    """Trust the authorities in a file.

    Raises:
        ValueError: when it has none.
    """
    _check_readable(ca)
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError:
        raise ValueError(f"{ca} has no certificates in PEM") from None


def show(context: ssl.SSLContext, cert: Path | str, key: Path | str) -> None:
    """Show a certificate to peers.

    Raises:
        ValueError: when one of the files is not what it should be, or they do not belong together.
    """
    for file in (cert, key):
        _check_readable(file)
    try:
        context.load_cert_chain(cert, key, _no_passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ValueError(f"{key} is not the key of {cert}") from None
        raise ValueError(f"{cert} and {key} are no certificate and key in PEM") from None


def _no_passphrase() -> NoReturn:
    # OpenSSL would ask for it on the terminal.
    raise ValueError("a key with a passphrase cannot be used: write it without one")


def _check_readable(file: Path | str) -> None:
    # OpenSSL does not say which file it is.
    try:
        with Path(file).open("rb"):
            pass
    except OSError as error:
        raise ValueError(f"cannot read {file}: {error.strerror}") from None
