"""What ``blaze serve`` logs, and how: lines for people, or JSON for programs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

from blazerpc.config import LogFormat, LogOptions
from blazerpc.server.calls import current_call

# One encoder for all lines: json.dumps makes a new one each time that it is given ``default``.
_encode: Final = json.JSONEncoder(default=str).encode


def start_logging(options: LogOptions, *, process: bool = False) -> None:
    """Log to standard error.

    Args:
        options: how much, and in which form.
        process: whether lines for people say which process they are of; JSON always does.
    """
    handler = logging.StreamHandler(sys.stderr)
    name = "%(name)s[%(process)d]" if process else "%(name)s"
    handler.setFormatter(
        JsonFormatter()
        if options.format is LogFormat.JSON
        else logging.Formatter(f"%(asctime)s %(levelname)s {name}: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=options.level.upper())
    # grpclib tells of every cancelled call; the calls that matter are ours to log.
    logging.getLogger("grpclib").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON.

    ``time``, ``level``, ``logger``, ``message`` and ``pid``; of a call what ``LoggingMiddleware``
    knows of it; of what is logged while a call is served, its ``request_id`` and ``trace_id``; and
    the traceback, in ``exception``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        logged = getattr(record, "call", None)
        if isinstance(logged, dict):
            # The rest of the line for people says the same once more.
            fields |= {"message": f"{logged['method']} {logged['status']}", **logged}
        elif (call := current_call()) is not None:
            fields["request_id"] = call.request_id
            if call.trace_id is not None:
                fields["trace_id"] = call.trace_id
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return _encode(fields)
