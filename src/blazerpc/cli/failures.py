"""What a user can mend, in one line, and its exit code."""

from __future__ import annotations

from dataclasses import dataclass

import rich.markup
from rich.console import Console

from blazerpc.cli.exits import FAILURE, USAGE, CommandError
from blazerpc.cli.load import ImportStringError
from blazerpc.cli.text import mended, one_line
from blazerpc.exceptions import BlazeRPCError
from blazerpc.supervisor.supervisor import WorkersError
from blazerpc_client import RpcError, Unavailable, Unimplemented
from blazerpc_client.codegen import NotOursError
from blazerpc_client.wire.errors import WireError


@dataclass(frozen=True, slots=True)
class Failure:
    """A line for people, and an exit code for programs."""

    message: str
    code: int = FAILURE


def explained(error: Exception) -> Failure | None:
    """Return what is told of an error; None when it is a fault that nobody foresaw."""
    match error:
        case ImportStringError():
            return Failure(str(error), USAGE)
        case WorkersError() | CommandError():
            return Failure(str(error), error.code)
        case NotOursError():
            return Failure(f"{error}; choose another --out or --package")
        case Unavailable():
            return Failure(mended(error))
        case Unimplemented():
            return Failure(f"{error.message}; enable it there")
        case RpcError():
            return Failure(error.message)
        case BlazeRPCError() | WireError() | OSError():
            return Failure(str(error))
    return None


def print_error(message: str) -> None:
    """Print an error as one line."""
    Console(stderr=True, soft_wrap=True).print(
        "[bold red]error:[/bold red]", rich.markup.escape(one_line(message)), highlight=False
    )
