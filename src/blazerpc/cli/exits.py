"""The exit codes of the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from blazerpc.exceptions import BlazeRPCError
from blazerpc_client.errors import InvalidArgument, RpcError
from blazerpc_client.wire.errors import WireError

#: A command that failed, and one that was called wrongly.
FAILURE: Final = 1
USAGE: Final = 2

#: Added to the number of a gRPC status, as grpcurl does.
_STATUS: Final = 64


class CommandError(BlazeRPCError):
    """A command that failed.

    Attributes:
        code: that it ends with.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def exit_code_of(error: RpcError) -> int:
    """Return the exit code of a call that failed: 68 for DEADLINE_EXCEEDED."""
    return _STATUS + error.status.value


@contextmanager
def called_wrongly() -> Iterator[None]:
    """Raise what the schema or gRPC does not allow as a mistake in the command line."""
    try:
        yield
    except (WireError, InvalidArgument) as error:
        raise CommandError(str(error), USAGE) from None
    except RecursionError:
        raise CommandError("an argument is nested too deeply", USAGE) from None
