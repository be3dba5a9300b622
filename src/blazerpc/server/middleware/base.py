"""The base class of every middleware, on grpclib's events and the records of calls."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from grpclib.events import RecvRequest, SendTrailingMetadata, listen
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from blazerpc.exceptions import OverloadedError
from blazerpc.runtime.errors import RefusedError, internal
from blazerpc.runtime.model import ModelInfo
from blazerpc.runtime.observer import ModelObserver
from blazerpc.runtime.trailers import add_trailer
from blazerpc.server.calls import Call, CallTracker
from blazerpc_client.metadata import PUSHBACK

if TYPE_CHECKING:
    from grpclib._typing import IServerMethodFunc

log: logging.Logger = logging.getLogger("blazerpc.middleware")


class Middleware:
    """Sees every call of the services on a server.

    Override what is needed: ``on_request`` and ``on_response`` get grpclib's events, and the first
    may raise ``GRPCError`` to refuse a call, or ``OverloadedError`` to have it made again later;
    ``on_start`` and ``on_finish`` are for observers. Each is called exactly once a call, also for
    one that was refused, or that the client cancelled and that has no response therefore.
    ``observe_model`` is for those who want to know what happens between the two.
    """

    def on_start(self, call: Call) -> None:
        """Act on the beginning of a call, before any middleware may refuse it."""

    async def on_request(self, event: RecvRequest) -> None:
        """Act on a request, before its handler runs."""

    async def on_response(self, event: SendTrailingMetadata) -> None:
        """Act on the trailers, before they are sent."""

    def on_finish(self, call: Call) -> None:
        """Act on the end of a call; its status is set."""

    def observe_model(self, model: ModelInfo) -> ModelObserver | None:
        """Return what is told how the requests of a model fare; asked when a server is made."""
        return None

    def attach(self, server: Server) -> None:
        """Listen to the calls of ``server``."""
        tracker = CallTracker.of(server)
        # What does nothing costs nothing.
        if type(self).on_start is not Middleware.on_start:
            tracker.starters.append(self._start)
        if type(self).on_finish is not Middleware.on_finish:
            tracker.observers.append(self._finish)
        if type(self).on_request is not Middleware.on_request:
            listen(server, RecvRequest, self._request)
        if type(self).on_response is not Middleware.on_response:
            listen(server, SendTrailingMetadata, self._respond)

    async def _request(self, event: RecvRequest) -> None:
        try:
            await self.on_request(event)
        except GRPCError:
            raise
        except OverloadedError as error:
            event.method_func = _refusing(RefusedError(error))
            event.interrupt()  # as if it were raised: no other middleware is asked
        except Exception as error:
            raise internal(type(self).__name__, error) from None

    async def _respond(self, event: SendTrailingMetadata) -> None:
        # The call is decided: an observer that fails here must not keep the client from its end.
        try:
            await self.on_response(event)
        except Exception:
            log.exception("%s failed on a response", type(self).__name__)

    def _start(self, call: Call) -> None:
        # Nor must one that fails here.
        try:
            self.on_start(call)
        except Exception:
            log.exception("%s failed at the beginning of a call", type(self).__name__)

    def _finish(self, call: Call) -> None:
        try:
            self.on_finish(call)
        except Exception:
            log.exception("%s failed at the end of a call", type(self).__name__)


def _refusing(error: RefusedError) -> IServerMethodFunc:
    """Return a handler that refuses a call; when to come back is a trailer, as gRPC has it."""

    async def refuse(stream: Stream[Any, Any]) -> None:
        add_trailer(stream, PUSHBACK, error.pushback)
        raise error

    return refuse
