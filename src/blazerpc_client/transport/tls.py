"""TLS between a socket and the protocol above it, the same on every event loop.

asyncio's own gives no reason to the peer that it refuses, and none to the server's log: here the
alert goes out before the connection is closed, and whoever made the layer is told why. ALPN ``h2``
is required, as RFC 9113, section 3.2, has it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, cast

#: The protocol's name in ALPN (RFC 9113, section 3.1).
ALPN: Final = "h2"

#: The largest payload of a record (RFC 8446, section 5.1).
_RECORD: Final = 1 << 14

#: The types of records, by which TLS is told from all else (RFC 8446, section 5.1).
_RECORD_TYPES: Final = range(20, 24)

#: A fatal alert, ``unexpected_message``, for a peer that speaks no TLS: it may know what that is.
_ALERT: Final = b"\x15\x03\x03\x00\x02\x02\x0a"

#: Seconds that a peer has to read why it is refused: a socket that is closed before its peer's
#: bytes are read throws away what it has sent.
_LINGER: Final = 1.0

#: What OpenSSL's reasons mean; "the peer" becomes the role of the other side.
_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer sent no certificate",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer asks for a certificate, and none was sent",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer refuses the handshake; it may ask for a certificate",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not know the authority of this side's certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer refuses this side's certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer refuses this side's certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that this side's certificate has expired",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer refuses this side's kind of certificate",
    "UNSUPPORTED_PROTOCOL": "the peer has no version of TLS that is allowed here",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer allows no version of TLS that this side has",
    "NO_SHARED_CIPHER": "the peer has no cipher that is allowed here",
    "SSLV3_ALERT_UNEXPECTED_MESSAGE": "the peer does not understand TLS",
}


class TLSError(ConnectionError):
    """TLS with the peer failed; the text says why, and holds nothing that is secret."""


class TLSProtocol(asyncio.Protocol):
    """One connection's TLS, for a protocol that sees a transport like any other.

    Args:
        protocol: the one above; its connection is made when the handshake is done.
        context: of the connection.
        server_hostname: that the server's certificate must be for; None on the server's side.
        timeout: seconds that the handshake may take.
        told: called once: with None when the handshake is done, with why it failed otherwise.

    Attributes:
        address: of the peer.
        heard: whether the peer has sent anything.
        is_pending: whether the connection is open, and the protocol above has none.
        lost: whether the system has let the connection go.
        is_over: whether nothing is read or sent any more.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        timeout: float,
        told: Callable[[TLSError | None], None],
    ) -> None:
        self.address: Any = None
        self.heard: bool = False
        self.is_pending: bool = True
        self.lost: bool = False
        self.is_over: bool = False
        self._protocol = protocol
        self._peer = "server" if server_hostname is not None else "client"
        self._timeout = timeout
        self._told: Callable[[TLSError | None], None] | None = told
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._timer: asyncio.TimerHandle | None = None
        self._below: asyncio.Transport | None = None
        self._failure: TLSError | None = None
        self._connected = False

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._below = cast(asyncio.Transport, transport)
        self.address = transport.get_extra_info("peername")
        text = f"the {self._peer} ended no handshake within {self._timeout:g} s"
        self._timer = asyncio.get_running_loop().call_later(self._timeout, self._refuse, text)
        self._shake()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self.is_over:
            return
        if not self.heard:
            self.heard = True
            if data[0] not in _RECORD_TYPES:
                self._outgoing.write(_ALERT)
                self._refuse(f"the {self._peer} speaks no TLS")
                return
        self._incoming.write(data)
        if self._told is not None:
            self._shake()
        else:
            self._read()

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._connected:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._connected:
            self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on, with what TLS knows of the reason."""
        self.is_over = self.lost = True
        if self._timer is not None:
            self._timer.cancel()
        self.is_pending = False
        if self._told is not None:
            self._tell(TLSError(f"the {self._peer} hung up during the handshake"))
        elif self._connected:
            self._protocol.connection_lost(self._failure or exc)

    # The handshake.

    def _shake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._refuse(self._explained(error))
        else:
            if self._object.selected_alpn_protocol() == ALPN:
                self._connect()
            else:
                self._refuse(f"the {self._peer} does not speak HTTP/2 over TLS (ALPN {ALPN})")

    def _connect(self) -> None:
        assert self._below is not None
        assert self._timer is not None
        self._timer.cancel()
        self._flush()
        self._tell(None)
        self._connected, self.is_pending = True, False
        self._protocol.connection_made(_Transport(self, self._below, self._object))
        self._read()

    def _refuse(self, reason: str) -> None:
        """Give the handshake up, and see that the peer can read why."""
        assert self._below is not None
        assert self._timer is not None
        self._timer.cancel()
        self.is_over = True
        self._flush()
        self._tell(TLSError(reason))
        if self._peer == "client" and not self._below.is_closing():
            with suppress(OSError):
                self._below.write_eof()
            self._timer = asyncio.get_running_loop().call_later(_LINGER, self._below.abort)
        else:
            self._below.close()

    def _tell(self, failure: TLSError | None) -> None:
        told, self._told, self._failure = self._told, None, failure
        if told is not None:
            told(failure)

    def _explained(self, error: ssl.SSLError) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the {self._peer}'s certificate is refused: {error.verify_message}"
        reason = str(error.reason or error)
        text = _REASONS.get(reason, reason.replace("_", " ").lower())
        return text.replace("the peer", f"the {self._peer}")

    # After it.

    def _read(self) -> None:
        pieces, ended = [], False
        try:
            while piece := self._object.read(_RECORD):
                pieces.append(piece)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            # Of TLS 1.3 it is only here that a client learns what the server thinks of it.
            self._failure, ended = TLSError(self._explained(error)), True
        if pieces:
            self._protocol.data_received(b"".join(pieces))
        self._flush()  # TLS has something to say for itself, too
        if ended:
            self.close()

    def write(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        """Encrypt and send, unless the connection is closed."""
        if self.is_over:
            return
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[self._object.write(view) :]
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and self._below is not None:
            self._below.write(self._outgoing.read())

    def close(self) -> None:
        """Say goodbye, and close when all is sent."""
        if self._below is None or self.is_over:
            return
        self.is_over = True
        with suppress(ssl.SSLError):  # which is raised because the peer's own is not there yet
            self._object.unwrap()
        self._flush()
        self._below.close()

    def abort(self) -> None:
        """Close at once."""
        self.is_over = True
        if self._below is not None:
            self._below.abort()


class _Transport(asyncio.Transport):
    """What the protocol above TLS writes to."""

    def __init__(
        self, tls: TLSProtocol, below: asyncio.Transport, ssl_object: ssl.SSLObject
    ) -> None:
        super().__init__()
        self._tls, self._below, self._ssl_object = tls, below, ssl_object

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection; ``ssl_object`` tells of its TLS."""
        if name == "ssl_object":
            return self._ssl_object
        return self._below.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        self._tls.write((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of it."""
        self._tls.write(list_of_data)

    def can_write_eof(self) -> bool:
        """Return False: what TLS has instead closes the connection."""
        return False

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._tls.is_over or self._below.is_closing()

    def close(self) -> None:
        """Close when all is sent."""
        self._tls.close()

    def abort(self) -> None:
        """Close at once."""
        self._tls.abort()

    def get_write_buffer_size(self) -> int:
        """Return the bytes that wait for the socket."""
        return self._below.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Read no more, for now."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        self._below.resume_reading()
