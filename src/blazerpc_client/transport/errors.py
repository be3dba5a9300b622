"""What goes wrong on an HTTP/2 connection, and the code that tells the peer (RFC 9113, 5.4, 7)."""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """Error codes of RST_STREAM and GOAWAY (RFC 9113, section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


def code_name(code: int) -> str:
    """Return the name of an error code; a number that has none as it is (RFC 9113, section 7)."""
    return ErrorCode(code).name if code in _CODES else hex(code)


_CODES = frozenset(ErrorCode)


class TransportError(Exception):
    """The base of what this package raises."""


class ConnectionFault(TransportError):
    """The peer broke the rules of the connection, which ends with a GOAWAY (RFC 9113, 5.4.1)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class StreamFault(TransportError):
    """The peer broke the rules of one stream, which is reset (RFC 9113, section 5.4.2)."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(f"{code.name}: {reason}")
        self.code = code
        self.reason = reason


class StreamClosed(TransportError):
    """A stream does not allow what is to be sent on it, or not any more."""


class TooManyStreams(TransportError):
    """The peer allows no more streams at once (RFC 9113, section 5.1.2)."""


class ConnectionClosed(TransportError):
    """A connection takes no new streams any more."""
