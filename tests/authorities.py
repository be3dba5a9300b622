"""Authorities of the tests' own, and certificates that they have signed, as files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from blazerpc import ServerTLS
from blazerpc_client import ClientTLS


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """An authority whose certificates are files of one directory.

    Attributes:
        ca: the file of its own certificate.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._signer = trustme.CA()
        self.ca = directory / f"{name}.pem"
        self._signer.cert_pem.write_to_path(str(self.ca))

    def issue(
        self, file: str, *hosts: str, common_name: str | None = None, expired: bool = False
    ) -> Pair:
        """Sign a certificate for hosts, or for a person; write it over what was there."""
        past = datetime.now(UTC) - timedelta(days=1)
        made = self._signer.issue_cert(
            *hosts,
            common_name=common_name,
            not_before=past - timedelta(days=1) if expired else None,
            not_after=past if expired else None,
        )
        stem = self._directory / f"{self._name}-{file}"
        pair = Pair(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        made.private_key_pem.write_to_path(str(pair.key))
        pair.cert.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        return pair


class Files:
    """What both sides need for TLS, and what makes them refuse each other."""

    def __init__(self, directory: Path) -> None:
        self.ours = Authority(directory, "ours")
        self.theirs = Authority(directory, "theirs")
        self.server = self.ours.issue("server", "localhost", "127.0.0.1")
        self.alice = self.ours.issue("alice", "alice@example.org", common_name="alice")

    def server_tls(self, pair: Pair | None = None, *, clients: bool = True) -> ServerTLS:
        """Return what a server shows; with ``clients`` it asks them for certificates."""
        shown = pair or self.server
        client_ca = self.ours.ca if clients else None
        return ServerTLS(cert=shown.cert, key=shown.key, client_ca=client_ca)

    def client_tls(self, pair: Pair | None = None, *, server_name: str | None = None) -> ClientTLS:
        """Return what a client trusts and shows: alice's certificate, or another."""
        shown = pair or self.alice
        return ClientTLS(ca=self.ours.ca, cert=shown.cert, key=shown.key, server_name=server_name)

    def serve_options(self, *, clients: bool = True) -> list[str]:
        """Return the same for ``blaze serve``."""
        options = ["--tls-cert", str(self.server.cert), "--tls-key", str(self.server.key)]
        return [*options, "--tls-client-ca", str(self.ours.ca)] if clients else options

    def call_options(self) -> list[str]:
        """Return the same for commands that call."""
        files = {"--ca": self.ours.ca, "--cert": self.alice.cert, "--key": self.alice.key}
        return [word for option, file in files.items() for word in (option, str(file))]
