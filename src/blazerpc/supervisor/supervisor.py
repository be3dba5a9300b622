"""The supervisor: its workers, its signals, and what it tells people."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from rich.console import Console

from blazerpc.config import ServeOptions, listening_on
from blazerpc.exceptions import BlazeRPCError
from blazerpc.supervisor.life import Event, State
from blazerpc.supervisor.messages import Failed, Order
from blazerpc.supervisor.metrics import WorkerMetrics
from blazerpc.supervisor.port import SharedPort
from blazerpc.supervisor.restarts import RestartPolicy
from blazerpc.supervisor.slot import Slot

log: logging.Logger = logging.getLogger("blazerpc.supervisor")

#: Exit code when a worker keeps crashing.
GAVE_UP: Final = 3


class WorkersError(BlazeRPCError):
    """The workers cannot go on.

    Attributes:
        code: the exit code that goes with it.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Supervisor:
    """Keeps ``options.workers`` processes serving, until a signal.

    Args:
        app: import string of the app, which the workers import.
        options: how they serve it.
        console: told when all of them do.
        tell_error: told why a changed source cannot be served.
        policy: how often a worker may crash.
    """

    def __init__(
        self,
        app: str,
        options: ServeOptions,
        console: Console,
        tell_error: Callable[[str], None],
        policy: RestartPolicy | None = None,
    ) -> None:
        self._app = app
        self._options = options
        self._console = console
        self._tell_error = tell_error
        self._policy = policy or RestartPolicy()
        self._slots: list[Slot] = []
        self._metrics: WorkerMetrics | None = None
        self._failure: WorkersError | None = None
        self._watching = self._stopping = self._announced = False
        self._told: set[str] = set()

    async def run(self, changes: AsyncIterator[str] | None = None) -> None:
        """Serve until SIGINT or SIGTERM, and return when all workers have ended.

        Args:
            changes: what changed in the sources, in one line: with each, the workers are replaced,
                and workers that could not start try again.

        Raises:
            ConfigurationError: when the port cannot be had.
            WorkersError: when the app cannot be started, or a worker keeps crashing.
        """
        loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = loop.create_future()
        # What goes wrong in a callback is to end the supervisor, and not to be a line in the log.
        loop.set_exception_handler(self._broken)
        self._watching = changes is not None
        with contextlib.closing(SharedPort(self._options.host, self._options.port)) as port:
            self._port = port
            async with contextlib.AsyncExitStack() as stack:
                self._metrics = self._served_metrics(stack)
                self._handle_signals(stack)
                if changes is not None:
                    stack.callback(loop.create_task(self._watch(changes)).cancel)
                self._start(stack)
                await self._done
        if self._failure is not None:
            raise self._failure

    def serving(self, banner: str) -> None:
        """Tell it when the last of the workers serves."""
        if all(slot.state is State.SERVING for slot in self._slots) and not self._announced:
            self._announced = True
            self._console.out(banner, end="", highlight=False)
            if self._metrics is not None:
                self._console.print(f"Metrics on {self._metrics.url}", highlight=False)
            # Last, and on a line of its own: whoever started this process can wait for it.
            where = listening_on(self._options.host, self._port.number)
            self._console.print(f"Serving on {where}", highlight=False)

    def failed(self, slot: Slot, failure: Failed, *, starting: bool) -> None:
        """Decide what becomes of a worker that ended by itself."""
        if starting and self._watching:
            self._wait_for_change(failure.message)
        elif starting and not slot.served:
            self._fail(failure.message, failure.code)
        elif (delay := slot.restarts.crashed(asyncio.get_running_loop().time())) is not None:
            log.warning("%s; starting another one in %g s", failure.message, delay)
            if self._metrics is not None:
                self._metrics.restarted()
            slot.start_in(delay)
        else:
            often = f"{self._policy.max_crashes} failures within {self._policy.window:g} s"
            message = f"giving up after {often}; the last: {failure.message}"
            if self._watching:
                self._wait_for_change(message)
            else:
                self._fail(message, GAVE_UP)

    def exited(self, pid: int) -> None:
        """Take what a process was in the middle of out of the metrics."""
        if self._metrics is not None:
            self._metrics.ended(pid)

    def ended(self) -> None:
        """End when all workers have."""
        if all(slot.state is State.ENDED for slot in self._slots) and not self._done.done():
            self._done.set_result(None)

    def _start(self, stack: contextlib.AsyncExitStack) -> None:
        order = Order(
            app=self._app,
            options=dataclasses.replace(self._options, port=self._port.number, workers=1),
            listener=self._port.listener,
            # They are found by the second of a source and its size: an edit within that second
            # would go unnoticed.
            keep_bytecode=not self._watching,
            environment={} if self._metrics is None else self._metrics.environment,
        )
        for number in range(1, self._options.workers + 1):
            slot = Slot(number, order, self, self._policy)
            stack.callback(slot.kill)
            self._slots.append(slot)
        for slot in self._slots:
            slot.feed(Event.START)

    def _served_metrics(self, stack: contextlib.AsyncExitStack) -> WorkerMetrics | None:
        """Serve the metrics of all workers, if that is asked for."""
        port = self._options.metrics_port
        if port is None:
            return None
        host = self._options.metrics_address
        return stack.enter_context(WorkerMetrics.served(host, port))

    def _wait_for_change(self, message: str) -> None:
        """Tell an error once, and not once for each worker."""
        if message not in self._told:
            self._told.add(message)
            self._tell_error(message)

    def _fail(self, message: str, code: int) -> None:
        self._failure = self._failure or WorkersError(message, code)
        self._stop()

    def _handle_signals(self, stack: contextlib.AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
            stack.callback(loop.remove_signal_handler, number)

    def _on_signal(self) -> None:
        if not self._stopping:
            self._stop()
            return
        for slot in self._slots:
            slot.feed(Event.HURRY)

    def _stop(self) -> None:
        self._stopping = True
        # Before the workers: connections that no worker will accept are refused, and do not wait.
        self._port.close()
        for slot in self._slots:
            slot.feed(Event.STOP)

    async def _watch(self, changes: AsyncIterator[str]) -> None:
        try:
            async for changed in changes:
                self._restart(changed)
        except Exception as error:
            self._break(error)

    def _restart(self, changed: str) -> None:
        if self._stopping:
            return
        self._console.print(f"Restarting: {changed}", highlight=False, markup=False)
        self._announced = False
        self._told.clear()
        for slot in self._slots:
            slot.restarts.forget()
            slot.feed(Event.START)

    def _broken(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self._break(error if isinstance(error, Exception) else RuntimeError(context["message"]))

    def _break(self, error: Exception) -> None:
        if not self._done.done():
            self._done.set_exception(error)
