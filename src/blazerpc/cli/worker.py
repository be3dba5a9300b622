"""``python -m blazerpc.cli.worker``: one of several processes, which a supervisor has started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection

from rich.console import Console

from blazerpc.app import BlazeApp
from blazerpc.cli.failures import explained
from blazerpc.cli.load import load_app
from blazerpc.cli.logs import start_logging
from blazerpc.cli.serve import run, served
from blazerpc.server.grpc import GRPCServer
from blazerpc.server.memory import keep_what_was_started
from blazerpc.supervisor.messages import Command, Failed, Order, Ready, Report


class Supervision:
    """The supervisor, as a worker sees it: through a socket that closes when the supervisor ends.

    A thread listens to it, so that an app that takes long to import does not outlive it.
    """

    def __init__(self, channel: Connection[Report, Command]) -> None:
        self._channel = channel
        self._lock = threading.Lock()
        self._server: GRPCServer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told: Command | None = None

    def start(self) -> None:
        """Do what the supervisor says, from now on."""
        threading.Thread(target=self._listen, name="supervisor", daemon=True).start()

    def report(self, report: Report) -> None:
        """Tell the supervisor."""
        with contextlib.suppress(OSError):  # it has ended, which the thread notices as well
            self._channel.send(report)

    def attach(self, server: GRPCServer) -> None:
        """Stop this server when the supervisor says so; the process itself, until then."""
        with self._lock:
            self._server, self._loop = server, asyncio.get_running_loop()
            told = self._told
        if told is not None:
            self._obey(told)

    def _listen(self) -> None:
        while True:
            try:
                command = self._channel.recv()
            except (EOFError, OSError):
                self._obey(Command.STOP)
                return
            self._obey(command)

    def _obey(self, command: Command) -> None:
        with self._lock:
            self._told = command
            server, loop = self._server, self._loop
        if server is None or loop is None:
            os.kill(os.getpid(), signal.SIGTERM)
            return
        stopping = server.stop(hurry=command is Command.HURRY)
        try:
            asyncio.run_coroutine_threadsafe(stopping, loop)
        except RuntimeError:  # the loop is closed: it has stopped
            stopping.close()


def main() -> None:
    """Serve what the supervisor orders."""
    channel: Connection[Report, Command] = Connection(int(sys.argv[1]))
    order = channel.recv()
    assert isinstance(order, Order)
    supervision = Supervision(channel)
    supervision.start()
    start_logging(order.options.log, process=True)
    try:
        run(_serve(load_app(order.app), order, supervision))
    except Exception as error:
        failure = explained(error)
        if failure is None:
            raise
        supervision.report(Failed(message=failure.message, code=failure.code))
        sys.exit(failure.code)


async def _serve(app: BlazeApp, order: Order, supervision: Supervision) -> None:
    options = order.options
    server = app.server(options)
    if order.listener is None:
        await server.listen(options.host, options.port, reuse_port=True)
    else:
        sock = socket.socket(fileno=order.listener)
        sock.set_inheritable(False)
        # It was off until somebody listens, since others could have bound the port, too. Without it
        # connections of a minute ago keep the port taken, and those of now do so after the end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await server.listen(options.host, options.port, sock=sock)
    keep_what_was_started()
    supervision.attach(server)
    # Blocked since before this process began; from now on it is a reason to stop, and no traceback.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if server.is_serving:
        supervision.report(Ready(banner=_banner(app)))
    await server.wait()


def _banner(app: BlazeApp) -> str:
    """Return the table of the models as this process would print it."""
    console = Console()
    with console.capture() as capture:
        console.print(served(app))
    return capture.get()


if __name__ == "__main__":
    main()
