"""The states of a stream as a table (RFC 9113, section 5.1).

There is no server push (a client announces ENABLE_PUSH 0, this server never does it), so the two
reserved states are not there.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from blazerpc_client.transport.windows import ReceiveWindow, SendWindow


class State(IntEnum):
    """A stream's state, as seen from this side."""

    IDLE = 0
    OPEN = 1
    HALF_CLOSED_LOCAL = 2
    HALF_CLOSED_REMOTE = 3
    CLOSED = 4


class Input(IntEnum):
    """What happens to a stream: a frame received or sent, by whether it ends that direction."""

    RECV_HEADERS = 0
    RECV_HEADERS_END = 1
    RECV_DATA = 2
    RECV_DATA_END = 3
    RECV_WINDOW_UPDATE = 4
    RECV_RST_STREAM = 5
    SEND_HEADERS = 6
    SEND_HEADERS_END = 7
    SEND_DATA = 8
    SEND_DATA_END = 9
    SEND_WINDOW_UPDATE = 10
    SEND_RST_STREAM = 11


_IDLE, _OPEN, _LOCAL, _REMOTE, _CLOSED = State

#: (state, input) -> next state. A pair that is missing is against the rules: of the peer's when
#: something was received, of the caller's when something is to be sent.
TRANSITIONS: Final[dict[tuple[int, int], State]] = {
    (_IDLE, Input.RECV_HEADERS): _OPEN,
    (_IDLE, Input.RECV_HEADERS_END): _REMOTE,
    (_IDLE, Input.SEND_HEADERS): _OPEN,
    (_IDLE, Input.SEND_HEADERS_END): _LOCAL,
    (_OPEN, Input.RECV_HEADERS): _OPEN,
    (_OPEN, Input.RECV_HEADERS_END): _REMOTE,
    (_OPEN, Input.RECV_DATA): _OPEN,
    (_OPEN, Input.RECV_DATA_END): _REMOTE,
    (_OPEN, Input.RECV_WINDOW_UPDATE): _OPEN,
    (_OPEN, Input.RECV_RST_STREAM): _CLOSED,
    (_OPEN, Input.SEND_HEADERS): _OPEN,
    (_OPEN, Input.SEND_HEADERS_END): _LOCAL,
    (_OPEN, Input.SEND_DATA): _OPEN,
    (_OPEN, Input.SEND_DATA_END): _LOCAL,
    (_OPEN, Input.SEND_WINDOW_UPDATE): _OPEN,
    (_OPEN, Input.SEND_RST_STREAM): _CLOSED,
    (_LOCAL, Input.RECV_HEADERS): _LOCAL,
    (_LOCAL, Input.RECV_HEADERS_END): _CLOSED,
    (_LOCAL, Input.RECV_DATA): _LOCAL,
    (_LOCAL, Input.RECV_DATA_END): _CLOSED,
    (_LOCAL, Input.RECV_WINDOW_UPDATE): _LOCAL,
    (_LOCAL, Input.RECV_RST_STREAM): _CLOSED,
    (_LOCAL, Input.SEND_WINDOW_UPDATE): _LOCAL,
    (_LOCAL, Input.SEND_RST_STREAM): _CLOSED,
    (_REMOTE, Input.RECV_WINDOW_UPDATE): _REMOTE,
    (_REMOTE, Input.RECV_RST_STREAM): _CLOSED,
    (_REMOTE, Input.SEND_HEADERS): _REMOTE,
    (_REMOTE, Input.SEND_HEADERS_END): _CLOSED,
    (_REMOTE, Input.SEND_DATA): _REMOTE,
    (_REMOTE, Input.SEND_DATA_END): _CLOSED,
    # Of what was read after the peer had sent its last: allowed, and of no use to it.
    (_REMOTE, Input.SEND_WINDOW_UPDATE): _REMOTE,
    (_REMOTE, Input.SEND_RST_STREAM): _CLOSED,
}


class StreamState:
    """One stream that is not closed."""

    __slots__ = ("answered", "expected", "id", "receive", "send", "state")

    def __init__(self, stream_id: int, send: int, receive: ReceiveWindow) -> None:
        self.id: int = stream_id
        self.state: State = State.IDLE
        self.send: SendWindow = SendWindow(send)
        self.receive: ReceiveWindow = receive
        #: Whether the peer's headers have come: after those, a header block is trailers.
        self.answered: bool = False
        #: Data that is still to come by the peer's content-length; None when it has not said.
        self.expected: int | None = None
