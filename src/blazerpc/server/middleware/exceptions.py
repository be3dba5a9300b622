"""Statuses for the exceptions of models."""

from __future__ import annotations

from collections.abc import Mapping

from grpclib.const import Status
from grpclib.events import RecvRequest

from blazerpc.exceptions import ConfigurationError
from blazerpc.runtime.errors import user_statuses
from blazerpc.server.middleware.base import Middleware


class ExceptionMiddleware(Middleware):
    """Gives exceptions that models raise a status of their own, and their text to the client.

    ``ExceptionMiddleware({KeyError: Status.NOT_FOUND})``; the nearest base class decides. What is
    not listed stays INTERNAL with an error id, and its text in the log.

    Raises:
        ConfigurationError: for OK, which is no failure.
    """

    def __init__(self, statuses: Mapping[type[Exception], Status] | None = None) -> None:
        self._statuses = dict(statuses or {})
        if Status.OK in self._statuses.values():
            raise ConfigurationError("an exception cannot have the status OK")

    async def on_request(self, event: RecvRequest) -> None:
        # Several of these add up, the later over the earlier.
        user_statuses.set({**user_statuses.get({}), **self._statuses})
