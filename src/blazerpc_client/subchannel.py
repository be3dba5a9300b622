"""One address of a channel: its connection, and when it is tried again.

The states are gRPC's: https://github.com/grpc/grpc/blob/master/doc/connectivity-semantics-and-api.md
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeAlias
from weakref import WeakSet

from blazerpc_client.backoff import Backoff
from blazerpc_client.targets import Address
from blazerpc_client.transport.headers import Fields
from blazerpc_client.transport.owner import StreamHandler
from blazerpc_client.transport.stream import TransportStream


class Connection(Protocol):
    """A connection, over either HTTP/2.

    Attributes:
        failure: why it ended; None when it says nothing of that.
    """

    failure: str | None

    def close(self) -> None:
        """Close at once; calls in flight fail."""

    def drain(self) -> None:
        """Close when the calls in flight have ended, where the HTTP/2 can."""


class State(enum.Enum):
    """What becomes of a call for this address."""

    IDLE = "it would connect"
    CONNECTING = "it waits"
    READY = "it is sent"
    TRANSIENT_FAILURE = "it fails"


#: Connects to an address; what becomes of the connection is told to the handler.
Dial: TypeAlias = Callable[[Address, StreamHandler], Coroutine[Any, Any, Connection]]

#: Takes note that a server serves: None, or why it does not. Returns whether that is still asked.
Tell: TypeAlias = Callable[[str | None], bool]

#: Says again and again whether the server at the other end serves.
Watch: TypeAlias = Callable[[Connection, Tell], Coroutine[Any, Any, None]]


class _Handler(StreamHandler):
    """Hears of one connection.

    Attributes:
        greeting: done when the server has said hello, or will not any more.
        is_open: whether the connection takes calls.
    """

    def __init__(self, lost: Callable[[_Handler], None]) -> None:
        self.greeting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_open: bool = True
        self._lost = lost

    def accept(self, stream: TransportStream, headers: Fields) -> None:
        raise NotImplementedError  # a client lets no server begin a stream

    def cancel(self, stream: TransportStream) -> None:
        """Do nothing: the stream has told its call."""

    def greeted(self) -> None:
        """Note that there is a server that speaks HTTP/2."""
        if not self.greeting.done():
            self.greeting.set_result(None)

    def close(self) -> None:
        """Note that the connection takes no more calls."""
        if self.is_open:
            self.is_open = False
            self.greeted()
            self._lost(self)


class Subchannel:
    """One address.

    Args:
        address: to connect to.
        dial: how.
        timeout: seconds that an attempt may take, until the server has said hello.
        backoff: between attempts that fail.
        watch: asks an open connection whether the server serves; None asks nothing.
        changed: called when the state is another one.

    Attributes:
        address: likewise.
        state: of it.
        connection: that calls are sent on; None unless the state is READY.
        failure: why calls fail, when the state is TRANSIENT_FAILURE.
        cause: the error that the last attempt ended with; None when it was none.
        retry_at: when the next attempt begins, by the loop's clock; None when there is a connection
            and the server says that it does not serve.
    """

    def __init__(
        self,
        address: Address,
        *,
        dial: Dial,
        timeout: float,
        backoff: Backoff,
        watch: Watch | None,
        changed: Callable[[Subchannel], None],
    ) -> None:
        self.address: Address = address
        self.state: State = State.IDLE
        self.connection: Connection | None = None
        self.failure: str = ""
        self.cause: Exception | None = None
        self.retry_at: float | None = None
        self._dial = dial
        self._timeout = timeout
        self._backoff = backoff
        self._watch = watch
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._began = 0.0
        self._failures = 0
        self._handler: _Handler | None = None  # of the connection that calls are for
        # Those after a GOAWAY too, which still have calls in flight.
        self._open: WeakSet[Connection] = WeakSet()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connect(self) -> None:
        """Begin an attempt, unless there is a connection, an attempt, or a wait for the next."""
        if self.state is State.IDLE:
            self._stop()
            self._began = self._loop.time()
            self._enter(State.CONNECTING)
            self._task = self._loop.create_task(self._attempt())

    def reconnect(self) -> None:
        """Connect though no call needs it yet, and no sooner than after a first failure.

        A server that says hello and then hangs up is not to be asked without a pause.
        """
        if self.state is State.IDLE:
            when = self._began + self._backoff.initial
            self._timer = self._loop.call_at(when, self.connect)

    def close(self) -> None:
        """Close the connections; calls in flight fail."""
        self._leave()
        for connection in list(self._open):
            connection.close()

    def retire(self) -> None:
        """Take no more calls, and close the connections when those in flight have ended."""
        self._leave()
        for connection in list(self._open):
            connection.drain()

    async def _attempt(self) -> None:
        handler = _Handler(self._lost)
        connection: Connection | None = None
        cause: Exception | None = None
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._dial(self.address, handler)
                self._open.add(connection)
                await handler.greeting
        except TimeoutError as error:  # before OSError, whose subclass it is
            failure, cause = error.strerror or f"no answer within {self._timeout:g} s", error
        except Exception as error:  # whoever waits for it must hear of any
            failure, cause = getattr(error, "strerror", None) or str(error), error
        else:
            if handler.is_open:
                self._established(connection, handler)
                return
            failure = connection.failure or "the server hung up"
        if connection is not None:
            connection.close()
        self._fail(failure, cause)

    def _established(self, connection: Connection, handler: _Handler) -> None:
        self._handler = handler
        self._failures = 0
        if self._watch is None:
            self._serve(connection, handler, None)
        else:
            watching = self._watch(connection, partial(self._serve, connection, handler))
            self._task = self._loop.create_task(watching)

    def _serve(self, connection: Connection, handler: _Handler, failure: str | None) -> bool:
        """Take note that the server serves, or why it does not, as long as calls are for it."""
        if handler is not self._handler:
            return False
        self.failure, self.cause, self.retry_at = failure or "", None, None
        self.connection = connection if failure is None else None
        self._enter(State.READY if failure is None else State.TRANSIENT_FAILURE)
        return True

    def _fail(self, failure: str, cause: Exception | None) -> None:
        """Take note that an attempt failed, and wait for the next."""
        self._failures += 1
        wait = self._backoff.wait(self._failures)
        self.failure, self.cause = failure, cause
        self.retry_at = self._loop.time() + wait
        self._timer = self._loop.call_later(wait, self._enter, State.IDLE)
        self._enter(State.TRANSIENT_FAILURE)

    def _lost(self, handler: _Handler) -> None:
        # What an attempt loses, it notices.
        if handler is self._handler:
            self._stop()
            self._enter(State.IDLE)

    def _enter(self, state: State) -> None:
        self.state = state
        if state is not State.READY:
            self.connection = None
        self._changed(self)

    def _leave(self) -> None:
        self._stop()
        self.state = State.IDLE

    def _stop(self) -> None:
        """End what goes on, without a word."""
        self._handler = self.connection = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
