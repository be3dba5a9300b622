"""What strangers wrote, made fit for a terminal."""

from __future__ import annotations

import re
from typing import Final

from blazerpc_client.errors import Unavailable
from blazerpc_client.transport.tls import TLSError

#: What a terminal obeys instead of showing it, all but the tab and the end of a line.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Return the text with control characters as JSON escapes them."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def mended(error: Unavailable) -> str:
    """Return what the error says, with what may help when nobody was reached at all."""
    cause = error.__cause__
    reached = isinstance(cause, TLSError) or not isinstance(cause, OSError)
    return error.message if reached else f"{error.message}; is the server running there?"


def one_line(text: str) -> str:
    """Return the text on one line, printable."""
    return printable(" ".join(text.split()))
