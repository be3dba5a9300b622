"""One worker: the processes that take its place, one after the other."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Final, Protocol

from blazerpc.supervisor.life import Action, Event, Life, State
from blazerpc.supervisor.messages import Command, Failed, Order, Ready, Report
from blazerpc.supervisor.process import Process
from blazerpc.supervisor.restarts import RestartPolicy, Restarts

log: logging.Logger = logging.getLogger("blazerpc.supervisor")

#: Seconds that a process has to end after the grace period; its models close in that time.
MARGIN: Final = 15.0

#: Seconds that it has after a second signal.
HURRIED_MARGIN: Final = 3.0


class Owner(Protocol):
    """What a slot tells its supervisor."""

    def serving(self, banner: str) -> None:
        """Take note that its process accepts connections."""

    def failed(self, slot: Slot, failure: Failed, *, starting: bool) -> None:
        """Decide what follows a process that ended by itself, while ``starting`` or later."""

    def exited(self, pid: int) -> None:
        """Take note that this process is gone."""

    def ended(self) -> None:
        """Take note that no process will follow."""


class Slot:
    """A worker's place.

    Args:
        number: for people, from 1.
        order: what its processes serve.
        owner: told what becomes of it.
        policy: how often it may crash.

    Attributes:
        restarts: its crashes.
        served: whether one of its processes has accepted connections.
    """

    def __init__(self, number: int, order: Order, owner: Owner, policy: RestartPolicy) -> None:
        self.restarts: Restarts = Restarts(policy)
        self.served: bool = False
        self._number = number
        self._name = f"worker {number}"
        self._order = order
        self._owner = owner
        self._life = Life()
        self._process: Process | None = None
        self._report: Report | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._code = 0
        self._actions: dict[Action, Callable[[], None]] = {
            Action.NOTHING: lambda: None,
            Action.SPAWN: self._spawn,
            Action.ANNOUNCE: self._announce,
            Action.RECOVER: self._recover,
            Action.TERMINATE: self._terminate,
            Action.DRAIN: self._drain,
            Action.HURRY: self._hurry,
            Action.KILL: self._kill,
            Action.END: self._end,
        }

    def __str__(self) -> str:
        return self._name

    @property
    def state(self) -> State:
        """Where its life is."""
        return self._life.state

    def feed(self, event: Event) -> None:
        """Do what the event calls for."""
        self._actions[self._life.feed(event)]()

    def start_in(self, seconds: float) -> None:
        """Start a process after a while."""
        self._set_timer(seconds, Event.START)

    def kill(self) -> None:
        """Leave no process behind."""
        if self._process is not None:
            self._process.kill()

    def _spawn(self) -> None:
        self._cancel_timer()
        self._report = None
        try:
            self._process = Process(self._order, self._reported, self._exited)
        except OSError as error:
            self._report = Failed(message=f"cannot start {self}: {error}", code=1)
            asyncio.get_running_loop().call_soon(self._exited, 1)
        else:
            self._name = f"worker {self._number} (pid {self._process.pid})"

    def _reported(self, report: Report) -> None:
        self._report = report
        if isinstance(report, Ready):
            self.feed(Event.READY)

    def _exited(self, code: int) -> None:
        if self._process is not None:
            self._owner.exited(self._process.pid)
        self._code, self._process = code, None
        self._cancel_timer()
        self.feed(Event.EXITED)

    def _announce(self) -> None:
        assert isinstance(self._report, Ready)
        log.info("%s serves", self)
        self.served = True
        self._owner.serving(self._report.banner)

    def _recover(self) -> None:
        starting = not isinstance(self._report, Ready)
        if isinstance(self._report, Failed):
            failure = self._report
        else:
            failure = _unexplained(self._name, self._code, starting=starting)
        self._owner.failed(self, failure, starting=starting)

    def _terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()
        self._set_timer(self._order.options.grace_period + MARGIN, Event.OVERDUE)

    def _drain(self) -> None:
        if self._process is not None:
            self._process.tell(Command.STOP)
        self._set_timer(self._order.options.grace_period + MARGIN, Event.OVERDUE)

    def _hurry(self) -> None:
        if self._process is not None:
            self._process.tell(Command.HURRY)
        self._set_timer(HURRIED_MARGIN, Event.OVERDUE)

    def _kill(self) -> None:
        log.warning("killing %s, which does not end", self)
        self.kill()

    def _end(self) -> None:
        self._cancel_timer()
        self._owner.ended()

    def _set_timer(self, seconds: float, event: Event) -> None:
        """Feed the event after so many seconds, and none that was to be fed before."""
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.feed, event)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _unexplained(name: str, code: int, *, starting: bool) -> Failed:
    """Return what is known of a process that ended without a report."""
    when = " while it started" if starting else ""
    if code >= 0:
        return Failed(message=f"{name} ended with exit code {code}{when}", code=code or 1)
    known = {number.value for number in signal.Signals}
    killer = signal.Signals(-code).name if -code in known else f"signal {-code}"
    return Failed(message=f"{name} was killed by {killer}{when}", code=128 - code)
