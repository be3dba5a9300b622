"""What the wire layer raises: one exception, neutral between client and server."""

from __future__ import annotations


class WireError(ValueError):
    """A value that the schema does not allow, or bytes that do not hold one.

    The client turns it into ``InvalidArgument``; the server into INVALID_ARGUMENT for a request
    and INTERNAL for a result.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def at(self, field: str) -> WireError:
        """Return the same error inside ``field``: ``[3]`` in ``scores`` is ``scores[3]``."""
        inner = self.field or ""
        dot = "." if inner and not inner.startswith("[") else ""
        return WireError(self.message, field=f"{field}{dot}{inner}")

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message
