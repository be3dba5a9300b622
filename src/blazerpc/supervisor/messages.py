"""What a supervisor and its workers say to each other, pickled, over a pair of sockets.

The worker gets one ``Order``, answers with one ``Report``, and may get commands after that. The
end of the supervisor closes its socket, which a worker takes for a ``Command.STOP``.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from blazerpc.config import ServeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker serves.

    Attributes:
        app: its import string.
        options: with the port that all workers share.
        listener: file descriptor of the socket to listen on; None to make one.
        keep_bytecode: whether compiled modules are written.
        environment: that its process has besides the supervisor's own.
    """

    app: str
    options: ServeOptions
    listener: int | None
    keep_bytecode: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The worker accepts connections.

    Attributes:
        banner: what tells people which models it serves.
    """

    banner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The worker cannot serve.

    Attributes:
        message: why, in one line.
        code: the exit code that goes with it.
    """

    message: str
    code: int


Report = Ready | Failed


class Command(enum.Enum):
    """What a worker is told."""

    STOP = "let the calls in flight finish, and end"
    HURRY = "end without them"
