"""One port for several processes."""

from __future__ import annotations

import contextlib
import socket
import sys

from blazerpc.config import listening_on
from blazerpc.exceptions import ConfigurationError
from blazerpc.unix import UnixSocket
from blazerpc_client.targets import unix_path


def can_share() -> bool:
    """Tell if processes that listen on one port with SO_REUSEPORT share its connections.

    Other systems that have the option give all connections to one of the processes.
    """
    return sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


class SharedPort:
    """A port that is held for the workers, whether one listens or not.

    Where the workers can share it, each makes a socket of its own. Where they cannot, they inherit
    one socket and take turns at accepting.

    Args:
        host: address; of several that a name stands for, the first is held, and an inherited
            socket listens on that alone. The socket of a ``unix:PATH`` is always inherited.
        port: 0 lets the system choose.
        inherit: whether the socket is inherited; None where it has to be.

    Attributes:
        number: the port; 0 of a UNIX socket.

    Raises:
        ConfigurationError: when the address cannot be had.
    """

    def __init__(self, host: str, port: int, *, inherit: bool | None = None) -> None:
        self._inherit = not can_share() if inherit is None else inherit
        self._file: UnixSocket | None = None
        path = unix_path(host)
        try:
            if path is not None:
                self._file = UnixSocket(path)
            self._socket = _bound(host, port) if self._file is None else self._file.socket
        except OSError as error:
            reason, where = error.strerror or error, listening_on(host, port)
            raise ConfigurationError(f"cannot listen on {where}: {reason}") from None
        self.number: int = 0
        if self._file is not None:
            self._inherit = True
            return
        self.number = self._socket.getsockname()[1]
        # The first was needed to bind. Were it left on, or the second one set before, another
        # supervisor could bind the port as well, and take half of the connections.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        if not self._inherit:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)

    @property
    def listener(self) -> int | None:
        """File descriptor of the socket that workers inherit; None when they make their own."""
        return self._socket.fileno() if self._inherit else None

    def close(self) -> None:
        """Let go of it; connections are refused as soon as no worker listens."""
        self._socket.close()
        if self._file is not None:
            self._file.remove()


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(socket.socket(family, kind, protocol))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
        stack.pop_all()
    return made
