"""Where a client connects to: what a target says, and the addresses that it stands for.

The forms are gRPC's: https://github.com/grpc/grpc/blob/master/doc/naming.md
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from blazerpc_client.errors import InvalidArgument

#: Addresses of one target. Each has a connection of its own.
MOST: Final = 100

_UNIX: Final = "unix:"
_DNS: Final = "dns:"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address; the system tries all that its host stands for, and takes the first.

    Attributes:
        host: a name, or an address of one.
        port: likewise.
        name: that ``host`` is an address of, where that is known.
    """

    host: str
    port: int
    name: str | None = field(default=None, compare=False)

    @property
    def server_name(self) -> str:
        """What the server's certificate must be for."""
        return self.name or self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A UNIX socket."""

    path: str

    @property
    def server_name(self) -> str:
        """What the server's certificate must be for."""
        return "localhost"

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


@dataclass(frozen=True, slots=True)
class DnsName:
    """A name, each of whose addresses is a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_DNS}///{self.host}:{self.port}"

    async def addresses(self) -> list[Address]:
        """Ask the system for the addresses.

        Raises:
            OSError: when it knows none.
        """
        found = await asyncio.get_running_loop().getaddrinfo(
            self.host, self.port, type=socket.SOCK_STREAM
        )
        return [HostPort(str(address[0]), self.port, self.host) for *_, address in found]


Address: TypeAlias = HostPort | UnixPath


@dataclass(frozen=True, slots=True)
class Target:
    """What a client connects to.

    Attributes:
        parts: in the order they were given, none twice.
    """

    parts: tuple[Address | DnsName, ...]

    def __str__(self) -> str:
        return ",".join(map(str, self.parts))

    @property
    def is_single(self) -> bool:
        """Whether it can only ever be one address."""
        return len(self.parts) == 1 and not isinstance(self.parts[0], DnsName)

    @property
    def authority(self) -> str:
        """What requests name as the server (RFC 9113, section 8.3.1): the first part."""
        first = self.parts[0]
        # As gRPC does: a path is no name of a server.
        return "localhost" if isinstance(first, UnixPath) else str(HostPort(first.host, first.port))

    async def addresses(self) -> tuple[Address, ...]:
        """Return the addresses, asking the system for those of a name.

        Raises:
            OSError: when it knows none of a name.
        """
        found: list[Address] = []
        for part in self.parts:
            found += await part.addresses() if isinstance(part, DnsName) else [part]
        return tuple(dict.fromkeys(found))[:MOST]


def parse_target(target: str | Sequence[str]) -> Target:
    """Read a target, or several: a sequence of them, or a text with commas between.

    ``HOST:PORT``; an IPv6 address stands in brackets, as in ``[::1]:50051``. ``unix:PATH``, or
    ``unix:///PATH`` for an absolute one. ``dns:///NAME:PORT`` for all addresses of a name.

    Raises:
        InvalidArgument: saying which form a target has.
    """
    given: object = target
    if not isinstance(given, Sequence):
        raise InvalidArgument(f"{given!r} is no address, and no list of them", field="target")
    texts = target.split(",") if isinstance(target, str) else list(target)
    if not 0 < len(texts) <= MOST:
        raise InvalidArgument(
            f"{len(texts)} addresses are given; there must be 1 to {MOST}", field="target"
        )
    return Target(tuple(dict.fromkeys(_part(text) for text in texts)))


def unix_path(address: str) -> str | None:
    """Return the path of an address of the form ``unix:PATH``; None for any other.

    Raises:
        InvalidArgument: for a path that can be none.
    """
    part = _part(address) if address.startswith(_UNIX) else None
    return part.path if isinstance(part, UnixPath) else None


def _part(text: str) -> Address | DnsName:
    given: object = text
    text = text.strip() if isinstance(given, str) else ""
    if text.startswith(_UNIX):
        path = text.removeprefix(_UNIX)
        # With slashes an authority could stand before the path; there is none of a file.
        path = path.removeprefix("//") if path.startswith("///") else path
        found: Address | DnsName | None = UnixPath(path) if _is_path(path) else None
    elif text.startswith(_DNS):
        address = _host_port(re.sub("^///", "", text.removeprefix(_DNS)))
        found = address and DnsName(address.host, address.port)
    else:
        found = _host_port(text)
    if found is None:
        raise InvalidArgument(
            f"{given!r} is no address; it has the form HOST:PORT, unix:PATH or dns:///NAME:PORT",
            field="target",
        )
    return found


def _is_path(path: str) -> bool:
    return bool(path) and not path.startswith("//") and "\0" not in path


def _host_port(text: str) -> HostPort | None:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not (
        colon
        and host
        and is_host(host)
        and re.fullmatch("[0-9]{1,5}", port)
        and 0 < int(port) < 1 << 16
        and (bracketed or ":" not in host)
    ):
        return None
    return HostPort(host, int(port))


def is_host(host: str) -> bool:
    """Return whether a text can be a name or an address of a server."""
    try:
        host.encode("idna")  # what the resolver does first
    except UnicodeError:
        return False
    return "\0" not in host and "/" not in host
