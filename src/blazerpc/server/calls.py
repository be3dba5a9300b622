"""The calls on a server: one record for each, from its headers to its end."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from grpclib.const import Status
from grpclib.events import RecvRequest, SendTrailingMetadata, listen
from grpclib.exceptions import GRPCError
from grpclib.protocol import Peer
from grpclib.server import Server, Stream
from multidict import MultiDict, MultiMapping

from blazerpc.runtime.observer import Timing, current_timing

# Request and trailers come with different metadata objects, but in one task: what is set at the
# first is seen at the second, and by no other call.
_current: ContextVar[Call | None] = ContextVar("call", default=None)

#: The metadata in which a client or a proxy names a call.
REQUEST_ID: Final = "x-request-id"

# What a request id may be made of: it goes into logs, and through whatever reads them.
_SANE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


@dataclass(eq=False, slots=True, kw_only=True)
class Call:
    """One call.

    Attributes:
        method: path of the rpc, ``/blazerpc.InferenceService/PredictSentiment``.
        peer: who called.
        address: of the peer, ``127.0.0.1:50123``.
        task: that serves it.
        status: how it ended; None while it runs.
        known: whether the server has such an rpc; if not, ``method`` is whatever the client sent.
        started: when its headers had come, by ``time.perf_counter``.
        metadata: that the client sent. It may hold secrets: it is no part of ``repr``, and nothing
            of it belongs in a log unless somebody has asked for it.
        received: bytes of the client's messages.
        sent: bytes of the server's messages.
        timing: how the request fared in the runtime.
        principal: who the client is, when somebody has found out.
        trace_id: of the trace that it is part of, in hexadecimal.
    """

    method: str
    peer: Peer
    address: str
    task: asyncio.Task[Any]
    known: bool = True
    status: Status | None = None
    started: float = field(default_factory=time.perf_counter)
    metadata: MultiMapping[str | bytes] = field(default_factory=MultiDict, repr=False)
    received: int = 0
    sent: int = 0
    timing: Timing = field(default_factory=Timing)
    principal: str | None = None
    trace_id: str | None = None
    _request_id: str | None = field(default=None, init=False)

    @property
    def request_id(self) -> str:
        """What logs call it: its ``x-request-id`` if that is a plain word, or one made up."""
        if self._request_id is None:
            given = self.metadata.get(REQUEST_ID)
            sane = isinstance(given, str) and _SANE_ID.fullmatch(given)
            self._request_id = cast(str, given) if sane else secrets.token_hex(8)
        return self._request_id

    @property
    def duration(self) -> float:
        """Seconds since the call started."""
        return time.perf_counter() - self.started


def current_call() -> Call | None:
    """Return the call that is served in this context."""
    return _current.get()


async def unimplemented(stream: Stream[Any, Any]) -> None:
    """Answer a call of an rpc that the server does not have."""
    raise GRPCError(Status.UNIMPLEMENTED, "no such method")


class CallTracker:
    """Follows the calls of one server; tells of each one's beginning and end, exactly once.

    Attributes:
        in_flight: calls whose task has not ended; it ends after the trailers are sent.
        starters: called with each call at its beginning, before any middleware may refuse it.
        observers: called with each call at its end.
    """

    def __init__(self, server: Server) -> None:
        self.in_flight: set[Call] = set()
        self.starters: list[Callable[[Call], None]] = []
        self.observers: list[Callable[[Call], None]] = []
        listen(server, RecvRequest, self._begin)
        listen(server, SendTrailingMetadata, self._respond)

    @classmethod
    def of(cls, server: Server) -> CallTracker:
        """Return the tracker of ``server``; it sees a call before all who ask for it do."""
        if server not in _trackers:
            _trackers[server] = cls(server)
        return _trackers[server]

    async def _begin(self, event: RecvRequest) -> None:
        task = asyncio.current_task()
        assert task is not None  # grpclib gives each call a task
        known = event.method_func is not unimplemented
        call = Call(
            method=event.method_name,
            peer=event.peer,
            # Now: a connection that is closed may not know its peer any more.
            address=address_of(event.peer.addr()),
            task=task,
            known=known,
            metadata=cast(MultiMapping[str | bytes], event.metadata),
        )
        _current.set(call)
        current_timing.set(call.timing)
        self.in_flight.add(call)
        task.add_done_callback(lambda _: self._end(call))
        for start in self.starters:
            start(call)

    async def _respond(self, event: SendTrailingMetadata) -> None:
        call = _current.get()
        if call is None:  # grpclib's HTTP/2 does not tell of calls whose deadline is past already
            return
        # grpclib reports a cancellation by the client as an unknown error of the handler.
        cancelled = event.status is Status.UNKNOWN and call.task.cancelling() > 0
        self._finish(call, Status.CANCELLED if cancelled else event.status)

    def _end(self, call: Call) -> None:
        self.in_flight.discard(call)
        # A client that went away got no trailers: the end of the task is the end of the call.
        self._finish(call, Status.CANCELLED)

    def _finish(self, call: Call, status: Status) -> None:
        if call.status is None:
            call.status = status
            for observe in self.observers:
                observe(call)


_trackers: WeakKeyDictionary[Server, CallTracker] = WeakKeyDictionary()


def address_of(peername: object) -> str:
    """Return a peer's address as logs have it; one on a UNIX socket has none."""
    if isinstance(peername, tuple):
        return f"{peername[0]}:{peername[1]}"
    # Of one that has gone already, the system tells nothing.
    return "unix" if isinstance(peername, str | bytes) else "unknown"
