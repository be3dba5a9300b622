"""The process of a worker, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Pipe
from typing import Final

from blazerpc.supervisor.messages import Command, Failed, Order, Ready, Report

#: The worker's side.
_MODULE: Final = "blazerpc.cli.worker"


class Process:
    """A worker's process, started.

    Args:
        order: what it serves.
        on_report: called when it has reported.
        on_exit: called once, with its exit code, after its report.

    Raises:
        OSError: when the system has no room for a process.
    """

    def __init__(
        self,
        order: Order,
        on_report: Callable[[Report], None],
        on_exit: Callable[[int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_report = on_report
        self._on_exit = on_exit
        self._channel, theirs = Pipe()
        with theirs, _interrupts_blocked():
            inherited = [theirs.fileno()] + ([] if order.listener is None else [order.listener])
            flags = _interpreter_flags() + ([] if order.keep_bytecode else ["-B"])
            self._popen = subprocess.Popen(  # noqa: S603 - it is this program
                # -P: `-m` would put the current directory before the standard library.
                [sys.executable, *flags, "-P", "-m", _MODULE, str(theirs.fileno()), order.app],
                pass_fds=inherited,
                env={**os.environ, **order.environment},
            )
        self._send(order)
        self._loop.add_reader(self._channel.fileno(), self._read)
        # A thread, since the ways to wait for a child in an event loop differ by version of Python.
        threading.Thread(target=self._wait, name=f"wait-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its id."""
        return self._popen.pid

    def tell(self, command: Command) -> None:
        """Send it a command."""
        self._send(command)

    def terminate(self) -> None:
        """Send it SIGTERM, for what does not listen to commands yet."""
        self._popen.terminate()

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._popen.kill()

    def _send(self, message: Order | Command) -> None:
        # One that has ended is about to be noticed.
        with contextlib.suppress(OSError):
            self._channel.send(message)

    def _read(self) -> bool:
        """Take one message; tell if there was one, and not the end."""
        try:
            report = self._channel.recv()
        except (EOFError, OSError):
            self._loop.remove_reader(self._channel.fileno())
            return False
        assert isinstance(report, Ready | Failed)
        self._on_report(report)
        return True

    def _wait(self) -> None:
        code = self._popen.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._exited, code)

    def _exited(self, code: int) -> None:
        while self._channel.poll() and self._read():
            pass
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._on_exit(code)


def _interpreter_flags() -> list[str]:
    """Return this interpreter's options that a worker is to have as well."""
    flags = [f"-W{option}" for option in sys.warnoptions]
    flags += ["-O"] * sys.flags.optimize
    for name, value in sys._xoptions.items():
        flags.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return flags


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that do not get SIGINT until they ask for it.

    Ctrl-C reaches all processes of a terminal: one that is still starting would end with the
    traceback of a KeyboardInterrupt.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
