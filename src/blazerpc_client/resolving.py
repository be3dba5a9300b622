"""Which addresses a target stands for, now and later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from blazerpc_client.backoff import Backoff
from blazerpc_client.targets import Address, DnsName, Target

#: Seconds from one answer of the name service to the next question, as in gRPC.
_INTERVAL: Final = 30.0


class Resolver:
    """Looks a target's names up, and again when its servers cannot be reached.

    Args:
        target: whose addresses are wanted.
        timeout: seconds that a look-up may take.
        backoff: between look-ups that fail.
        found: called with the addresses.
        failed: called when there are none, and when it may be tried again.

    Attributes:
        failure: why there are none; None while they are looked up, and once they are known.
        retry_at: when they are looked up again after a failure, by the loop's clock.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout: float,
        backoff: Backoff,
        found: Callable[[tuple[Address, ...]], None],
        failed: Callable[[], None],
    ) -> None:
        self.failure: str | None = None
        self.retry_at: float = 0.0
        self._target = target
        self._timeout = timeout
        self._backoff = backoff
        self._found = found
        self._failed = failed
        self._failures = 0
        self._has_names = any(isinstance(part, DnsName) for part in target.parts)
        self._is_resolved = False
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def request(self) -> None:
        """Look the names up, unless that is under way, or was done a moment ago."""
        now = asyncio.get_running_loop().time()
        if self._task is None and now >= self.retry_at and self._is_wanted():
            self.failure = None
            self._task = asyncio.create_task(self._resolve())

    def close(self) -> None:
        """Look nothing up any more."""
        for pending in (self._task, self._timer):
            if pending is not None:
                pending.cancel()

    def _is_wanted(self) -> bool:
        return self._has_names or not self._is_resolved

    async def _resolve(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                addresses = await self._target.addresses()
        except OSError as error:  # TimeoutError is one
            self._task = None
            self._failures += 1
            wait = self._backoff.wait(self._failures)
            self.failure = error.strerror or str(error) or "the name service does not answer"
            self.retry_at = loop.time() + wait
            self._timer = loop.call_later(wait, self._failed)
            self._failed()
        else:
            self._task = None
            self._failures = 0
            self._is_resolved = True
            self.retry_at = loop.time() + _INTERVAL
            self._found(addresses)
