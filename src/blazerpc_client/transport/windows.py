"""Flow-control windows (RFC 9113, sections 5.2 and 6.9): arithmetic alone."""

from __future__ import annotations

from typing import Final

#: Of every stream and of the connection, until settings say otherwise (RFC 9113, section 6.9.2).
DEFAULT_WINDOW: Final = (1 << 16) - 1

#: RFC 9113, section 6.9.1.
MAX_WINDOW: Final = (1 << 31) - 1


class SendWindow:
    """What may still be sent; settings can make it negative (RFC 9113, section 6.9.2)."""

    __slots__ = ("size",)

    def __init__(self, size: int = DEFAULT_WINDOW) -> None:
        self.size: int = size

    def grow(self, increment: int) -> bool:
        """Change the window; return whether it is still one that may be (RFC 9113, 6.9.1)."""
        self.size += increment
        return self.size <= MAX_WINDOW


class ReceiveWindow:
    """What the peer may still send, and what it has not been told yet that it may.

    The peer is told once for half a window: small messages cost no WINDOW_UPDATE at all, and a
    reader that keeps up never lets the window close.
    """

    __slots__ = ("_full", "_owed", "size")

    def __init__(self, size: int, leeway: int = 0) -> None:
        #: ``leeway`` is what a peer may send beyond, that has not heard of our size yet.
        self.size: int = size + leeway
        self._full = size
        self._owed = 0

    def take(self, count: int) -> bool:
        """Note ``count`` bytes that came; return whether they were within the window."""
        self.size -= count
        return self.size >= 0

    def release(self, count: int) -> int:
        """Note ``count`` bytes that were read; return the increment to tell the peer, or 0."""
        self._owed += count
        if self._owed * 2 < self._full:
            return 0
        increment = self._owed
        self._owed = 0
        self.size += increment
        return increment
