"""The access log: one line a call."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Final

from blazerpc.server.calls import Call
from blazerpc.server.middleware.base import Middleware

_log: logging.Logger = logging.getLogger("blazerpc.access")

#: Characters of what a client made up that a line has, at most.
_MAX_TEXT: Final = 200


class LoggingMiddleware(Middleware):
    """Logs a line at the end of every call, at INFO.

    Method, status, milliseconds and peer, then ``key=value``: bytes of messages in and out, size of
    the batch, request id, principal, and trace id, where there are such. The record has the same as
    a dict, in its attribute ``call``, for formatters.

    Args:
        logger: that it logs to; ``blazerpc.access`` by default.
        metadata: keys whose values are logged. Nothing else that clients send is.
    """

    def __init__(
        self, logger: logging.Logger | None = None, *, metadata: Collection[str] = ()
    ) -> None:
        self._log = logger or _log
        self._metadata = tuple(key.lower() for key in metadata)

    def on_finish(self, call: Call) -> None:
        if not self._log.isEnabledFor(logging.INFO):
            return
        assert call.status is not None
        # The path of an rpc that the server does not have is whatever the client wrote.
        method = call.method if call.known else printable(call.method)
        status, milliseconds = call.status.name, round(call.duration * 1000, 3)
        more, metadata = _more(call), self._listed(call.metadata)
        fields: dict[str, object] = {
            "method": method,
            "status": status,
            "duration_ms": milliseconds,
            "peer": call.address,
            **more,
        }
        if metadata:
            fields["metadata"] = metadata
        words = " ".join([f"{key}={value}" for key, value in {**more, **metadata}.items()])
        self._log.info(
            "%s %s %.1fms %s %s",
            method,
            status,
            milliseconds,
            call.address,
            words,
            extra={"call": fields},
        )

    def _listed(self, metadata: Mapping[str, str | bytes]) -> dict[str, str]:
        return {key: printable(metadata[key]) for key in self._metadata if key in metadata}


def _more(call: Call) -> dict[str, object]:
    """Return what not every call has, or not every reader needs."""
    fields: dict[str, object] = {
        "request_bytes": call.received,
        "response_bytes": call.sent,
        "batch_size": call.timing.batch_size,
        "request_id": call.request_id,
        "principal": None if call.principal is None else printable(call.principal),
        "trace_id": call.trace_id,
    }
    return {key: value for key, value in fields.items() if value is not None}


def printable(text: str | bytes) -> str:
    """Return a client's text so that it stays one word of one line, and moves no cursor."""
    shown = text.hex() if isinstance(text, bytes) else text
    cut = shown if len(shown) <= _MAX_TEXT else f"{shown[:_MAX_TEXT]}..."
    return cut.encode("unicode_escape").decode().replace(" ", "\\x20")
