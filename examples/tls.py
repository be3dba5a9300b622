"""TLS with certificates of clients: who is let in, and what the others are told."""

from __future__ import annotations

import asyncio
import importlib
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from rich.console import Console
from rich.table import Table

from blazerpc import BlazeApp, Context
from blazerpc.server import AuthMiddleware, Caller
from blazerpc_client import ClientTLS, ServiceClient, Unavailable
from examples.process import served


def by_certificate(caller: Caller) -> str | None:
    """Return the name that a client's certificate is for."""
    return caller.common_name


app = BlazeApp("who", middleware=[AuthMiddleware(by_certificate)])


@app.model("greet")
def greet(greeting: str, ctx: Context) -> str:
    """Greet whoever calls."""
    return f"{greeting}, {ctx.principal}!"


@dataclass(frozen=True)
class Certificates:
    """Files of an authority, and of those that it knows."""

    directory: Path

    def of(self, name: str) -> tuple[Path, Path]:
        """Return the files of a certificate and of its key."""
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    def write(self) -> None:
        """Make an authority, and certificates for a server, for alice, and for who is late."""
        ours, another = trustme.CA(), trustme.CA()
        ours.cert_pem.write_to_path(str(self.directory / "ca.pem"))
        another.cert_pem.write_to_path(str(self.directory / "another.pem"))
        past = datetime.now(UTC) - timedelta(days=1)
        leaves = {
            "server": ours.issue_cert("localhost", "127.0.0.1"),
            "alice": ours.issue_cert("alice@example.org", common_name="alice"),
            "late": ours.issue_cert(
                "late@example.org",
                common_name="late",
                not_before=past - timedelta(days=1),
                not_after=past,
            ),
            "mallory": another.issue_cert("alice@example.org", common_name="alice"),
        }
        for name, leaf in leaves.items():
            cert, key = self.of(name)
            cert.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
            leaf.private_key_pem.write_to_path(str(key))

    def client(self, name: str) -> ClientTLS:
        """Return what a client of that name trusts, and shows."""
        cert, key = self.of(name)
        return ClientTLS(ca=self.directory / "ca.pem", cert=cert, key=key)

    def strangers(self) -> dict[str, ClientTLS]:
        """Return those that are not let in, or that do not trust the server."""
        alice = self.client("alice")
        return {
            "no certificate": replace(alice, cert=None, key=None),
            "expired": self.client("late"),
            "of another authority": self.client("mallory"),
            "trusts another authority": replace(alice, ca=self.directory / "another.pem"),
            "expects another name": replace(alice, server_name="example.org"),
        }


def main() -> int:
    """Run the demo; return 0 when alice was greeted, and nobody else was."""
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as directory:
        certificates = Certificates(Path(directory))
        certificates.write()
        with _server(certificates) as target:
            client_class = _generated(certificates, target, console)
            return 0 if asyncio.run(_all_called(certificates, target, client_class, console)) else 1


@contextmanager
def _server(certificates: Certificates) -> Iterator[str]:
    cert, key = (str(path) for path in certificates.of("server"))
    ca = str(certificates.directory / "ca.pem")
    # Another gRPC library than ours, with the standard library's TLS, asks for its health.
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(*certificates.of("alice"))
    options = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca)
    with served("examples.tls:app", *options, ssl=context) as target:
        yield target


def _generated(certificates: Certificates, target: str, console: Console) -> type[ServiceClient]:
    """Generate a client over TLS, and return its class."""
    cert, key = certificates.of("alice")
    files = ["--ca", certificates.directory / "ca.pem", "--cert", cert, "--key", key]
    command = ["client", "gen", "--from", target, "--package", "who_client", *map(str, files)]
    shown = f"--ca ca.pem --cert {cert.name} --key {key.name}"
    console.print(f"$ blaze client gen --from {target} {shown}", style="bold")
    subprocess.run(
        [sys.executable, "-m", "blazerpc.cli", *command, "--out", str(certificates.directory)],
        check=True,
    )
    sys.path.insert(0, str(certificates.directory))
    found: type[ServiceClient] = importlib.import_module("who_client").InferenceClient
    return found


async def _all_called(
    certificates: Certificates, target: str, client_class: type[ServiceClient], console: Console
) -> bool:
    table = Table("client", "answer")
    known = await _call(client_class(target, tls=certificates.client("alice")))
    table.add_row("alice", known)
    refused = True
    for name, tls in certificates.strangers().items():
        try:
            table.add_row(name, await _call(client_class(target, tls=tls)))
            refused = False
        except Unavailable as error:
            table.add_row(name, error.message)
    console.print(table)
    return refused and known == "Hello, alice!"


async def _call(client: Any) -> str:  # no type checker can know the class that was just written
    async with client:
        answer: str = await client.predict_greet(greeting="Hello")
        return answer


if __name__ == "__main__":
    raise SystemExit(main())
