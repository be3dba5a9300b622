"""The connections of a channel, and which of them a call gets."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from blazerpc_client.backoff import Backoff
from blazerpc_client.errors import Unavailable
from blazerpc_client.resolving import Resolver
from blazerpc_client.subchannel import Connection, Dial, State, Subchannel, Watch
from blazerpc_client.targets import Address, Target
from blazerpc_client.transport.stream import Signal


class Connections(Protocol):
    """What calls get their connection from."""

    def pick(self) -> Connection | None:
        """Return a connection that is ready; None when there is none."""

    @property
    def open(self) -> tuple[Connection, ...]:
        """Those that calls are sent on."""

    async def connected(self) -> Connection:
        """Return one as soon as there is one.

        Raises:
            Unavailable: as soon as none can be had.
        """

    def close(self) -> None:
        """Close all; calls in flight fail."""


class Pool:
    """A connection for each address of a target; calls take turns among those that are ready.

    Connections are made when the first call wants one. Those of several addresses are kept open
    from then on; a lone address is connected to again when a call wants it.

    Args:
        target: what to connect to.
        dial: makes a connection.
        timeout: seconds that an attempt to connect may take.
        backoff: between attempts that fail.
        watch: asks a connection whether its server serves; None asks nothing.
    """

    def __init__(
        self,
        target: Target,
        *,
        dial: Dial,
        timeout: float,
        backoff: Backoff,
        watch: Watch | None,
    ) -> None:
        self._target = target
        self._eager = not target.is_single
        self._make = partial(
            Subchannel,
            dial=dial,
            timeout=timeout,
            backoff=backoff,
            watch=watch,
            changed=self._on_change,
        )
        self._resolver = Resolver(
            target,
            timeout=timeout,
            backoff=backoff,
            found=self._on_addresses,
            failed=self._update,
        )
        self._loop = asyncio.get_running_loop()
        self._subchannels: list[Subchannel] = []
        self._ready: tuple[Connection, ...] = ()
        self._turn = 0
        self._changed = Signal()
        self._dead_ends = 0
        self._closed = False

    def pick(self) -> Connection | None:
        """Return the next connection that is ready; None when there is none."""
        ready = self._ready
        if not ready:
            return None
        self._turn = turn = (self._turn + 1) % len(ready)
        return ready[turn]

    async def connected(self) -> Connection:
        """Return the next connection that is ready, waiting for those that may become so.

        Raises:
            Unavailable: when no address can be reached, saying why and when it is tried again.
        """
        seen = self._dead_ends
        while (connection := self.pick()) is None:
            if self._dead_ends != seen:
                raise Unavailable(self.failure()) from self._cause()
            self._begin()
            if self._is_dead_end():
                raise Unavailable(self.failure() + self._next_attempt()) from self._cause()
            await self._changed.wait()
        return connection

    async def ready(self) -> None:
        """Wait until a connection is ready, however often that fails.

        Raises:
            Unavailable: when they are closed.
        """
        while not self._ready:
            self._begin()
            await self._changed.wait()

    @property
    def open(self) -> tuple[Connection, ...]:
        """Those that calls are sent on."""
        return self._ready

    def failure(self) -> str:
        """Return what is known of why no connection is ready."""
        reasons = [self._resolver.failure, *(each.failure for each in self._subchannels)]
        known = dict.fromkeys(reason for reason in reasons if reason)
        return f"cannot reach {self._target}: {'; '.join(known) or 'no connection yet'}"

    def _cause(self) -> Exception | None:
        """Return an error that keeps calls from being sent, of those that there are."""
        return next((each.cause for each in self._subchannels if each.cause is not None), None)

    def close(self) -> None:
        """Close all; calls in flight fail, and so do those that wait."""
        self._closed = True
        self._ready = ()
        self._resolver.close()
        for subchannel in self._subchannels:
            subchannel.close()
        self._changed.notify()

    def _begin(self) -> None:
        """Do what a call needs that has no connection."""
        if self._closed:
            raise Unavailable(f"{self._target}: the client was closed")
        if not self._subchannels:
            self._resolver.request()
        for subchannel in self._subchannels:
            subchannel.connect()

    def _is_dead_end(self) -> bool:
        """Tell if nothing is under way that could end in a connection."""
        if not self._subchannels:
            return self._resolver.failure is not None
        return all(each.state is State.TRANSIENT_FAILURE for each in self._subchannels)

    def _next_attempt(self) -> str:
        """Return when that changes, as the end of a sentence."""
        times = [each.retry_at for each in self._subchannels] or [self._resolver.retry_at]
        known = [time for time in times if time is not None]
        if not known:
            return ""
        return f"; the next attempt is in {max(0.0, min(known) - self._loop.time()):.1f} s"

    def _on_addresses(self, addresses: tuple[Address, ...]) -> None:
        known = {each.address: each for each in self._subchannels}
        self._subchannels = [
            known.pop(each) if each in known else self._make(each) for each in addresses
        ]
        for gone in known.values():
            gone.retire()
        for subchannel in self._subchannels:
            subchannel.connect()
        self._update()

    def _on_change(self, subchannel: Subchannel) -> None:
        if subchannel.state in (State.IDLE, State.TRANSIENT_FAILURE):
            self._resolver.request()  # the servers of a name may have moved
        self._update()
        if subchannel.state is State.IDLE and self._eager:
            subchannel.reconnect()

    def _update(self) -> None:
        self._ready = tuple(
            each.connection for each in self._subchannels if each.connection is not None
        )
        if self._is_dead_end():
            self._dead_ends += 1
        self._changed.notify()
