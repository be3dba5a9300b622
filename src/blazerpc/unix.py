"""A UNIX socket to listen on: its file is made, and removed again."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import Final

#: Connections that the system keeps until they are accepted.
_BACKLOG: Final = 1024


class UnixSocket:
    """A socket that listens at a path.

    It listens at once, before anybody accepts: a socket that does not is taken for one that a
    server has left behind, and its file is removed by the next that wants the path.

    Args:
        path: of its file; one that a server has left behind is removed.

    Attributes:
        socket: likewise.

    Raises:
        OSError: when the path cannot be had: somebody listens there, or it is another file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        _remove_stale(path)
        with contextlib.ExitStack() as stack:
            self.socket: socket.socket = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            )
            self.socket.bind(path)
            self._inode = os.stat(path).st_ino
            self.socket.listen(_BACKLOG)
            stack.pop_all()

    def remove(self) -> None:
        """Remove the file, unless it is another server's by now."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._path).st_ino == self._inode:
                os.unlink(self._path)


def _remove_stale(path: str) -> None:
    """Remove a socket's file that nobody listens at."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # somebody may listen, and accept nobody
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:
            return
