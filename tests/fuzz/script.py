"""Bytes of a fuzzer, read as what is to be done."""

from __future__ import annotations


class Script:
    """Gives its bytes out in order; what is beyond their end is zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def more(self) -> bool:
        return self._place < len(self._data)

    def byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1] if self._place <= len(self._data) else 0

    def number(self) -> int:
        """Return what two bytes say."""
        return self.byte() << 8 | self.byte()

    def piece(self) -> bytes:
        """Return up to 255 bytes; the first says how many."""
        size = self.byte()
        begin, self._place = self._place, self._place + size
        return self._data[begin : self._place]

    def rest(self) -> bytes:
        begin, self._place = self._place, len(self._data)
        return self._data[begin:]
