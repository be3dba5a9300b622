"""The Ray that this process is connected to: one that is there, or one of its own."""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Final, TypeVar

import ray
from ray.exceptions import AuthenticationError

from blazerpc.config import RayEngine
from blazerpc.exceptions import StartupError
from blazerpc.runtime.model import ModelInfo
from blazerpc.runtime.threads import DaemonPool

T = TypeVar("T")

log: logging.Logger = logging.getLogger("blazerpc")

#: Of the actors of front doors.
NAMESPACE: Final = "blazerpc"

#: Seconds that Ray has to take a connection, or to start.
_CONNECTING: Final = 60.0

#: Seconds that the end waits for a Ray that is being started.
_STARTING: Final = 15.0

#: Seconds that a look at whether Ray is there may take.
_PATIENCE: Final = 2.0

#: Seconds that leaving a Ray has that is not there any more.
_PARTING: Final = 1.0


def aside(function: Callable[[], T]) -> Future[T]:
    """Call ``function`` on a thread that does not keep the process: Ray may never answer."""
    pool = DaemonPool(1, "blazerpc-ray")
    future = pool.submit(function)
    pool.shutdown(wait=False)
    return future


class Cluster:
    """A Ray: that of the engine's address, or one that this process starts and ends.

    Args:
        engine: its options.
        models: that it is for.

    Attributes:
        own: whether this process starts it.
        address: ``HOST:PORT``; None until one of its own has started.
    """

    def __init__(self, engine: RayEngine, models: Sequence[ModelInfo]) -> None:
        self.own: bool = engine.address is None
        self.address: str | None = engine.address
        self._models = models
        self._connecting: Future[None] | None = None
        self._directory: str | None = None
        self._disconnecting = threading.Lock()

    def answers(self) -> bool:
        """Return whether anybody listens at its address."""
        if self.address is None:
            return False
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
        except OSError:  # TimeoutError is one
            return False
        return True

    async def connect(self) -> None:
        """Connect this process to Ray, or start one.

        Raises:
            StartupError: when it cannot, or Ray takes too long, which has no such limit of its own.
        """
        what = "a Ray on this machine" if self.own else f"Ray at {self.address}"
        log.info("starting %s" if self.own else "connecting to %s", what)
        # On a thread that stays: the processes of a Ray end with the thread that started them.
        self._connecting = DaemonPool(1, "blazerpc-ray").submit(self._init)
        try:
            async with asyncio.timeout(_CONNECTING):
                await asyncio.wrap_future(self._connecting)
        except TimeoutError:
            raise StartupError(f"{what} has not answered in {_CONNECTING:g} s") from None
        except (ConnectionError, AuthenticationError) as error:
            if self.own:
                raise
            # Ray looks for a token by itself only where it starts.
            raise StartupError(
                f"{what} took no connection; if it wants a token, set RAY_AUTH_MODE=token, and "
                "RAY_AUTH_TOKEN or the file ~/.ray/auth_token"
            ) from error
        _take_signals_back()

    def leave(self) -> None:
        """Disconnect at the end; from a Ray that has gone it takes long, which nobody waits for."""
        there = self.own or self.answers()
        done, _ = wait([aside(self.disconnect)], None if there else _PARTING)
        if not done:
            atexit.unregister(ray.shutdown)

    def disconnect(self) -> None:
        """Disconnect from Ray, and end one of its own and what that has on disk."""
        if self._connecting is not None and not self._connecting.done():
            if not self.own:
                return  # it has no end
            wait([self._connecting], _STARTING)
        with self._disconnecting:
            ray.shutdown(wait_for_processes=True)
            directory, self._directory = self._directory, None
            if directory is not None:
                shutil.rmtree(directory, ignore_errors=True)

    def _init(self) -> None:
        _log_as_the_server_does()
        if self.own:
            _have_a_token()
            self._directory = _new_directory()
        ray.init(
            "local" if self.own else self.address,
            # One of its own has room for all, whatever the machine has: they share its cores.
            num_cpus=_cores(self._models) if self.own else None,
            namespace=NAMESPACE,
            include_dashboard=False if self.own else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=self._directory,
        )
        if self.own:
            self.address = ray.get_runtime_context().gcs_address
            log.info("Ray is at %s", self.address)
            self._refuse_missing_gpus()

    def _refuse_missing_gpus(self) -> None:
        """Raise ``StartupError`` for what a Ray that does not grow would wait for in vain."""
        needed = sum(model.resources.gpus * model.resources.bounds[0] for model in self._models)
        found = ray.cluster_resources().get("GPU", 0)
        if needed > found:
            raise StartupError(f"the models need {needed:g} GPUs, and this machine has {found:g}")


def _have_a_token() -> None:
    """Choose the token of a Ray of its own, or Ray does, in a file that later Rays go by."""
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _new_directory() -> str | None:
    """Return one for a Ray of its own; None when the user has chosen one, where files stay."""
    if "RAY_TMPDIR" in os.environ:
        return None
    # The directories of macOS have names too long for the sockets in them.
    where = "/tmp" if sys.platform == "darwin" else None  # noqa: S108 - mkdtemp is for that
    return tempfile.mkdtemp(prefix="ray-", dir=where)


def _log_as_the_server_does() -> None:
    """Have Ray's loggers use the handler and the format of the server's."""
    for name in ("ray", "ray.serve"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        # A warning says that a replica has died: one for each model and call.
        logger.setLevel(logging.ERROR)


def _take_signals_back() -> None:
    """Have signals handled as they were: Ray's core takes SIGTERM, and aborts the process."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _cores(models: Sequence[ModelInfo]) -> int:
    needed = sum(model.resources.cpus * model.resources.bounds[1] for model in models)
    return max(os.cpu_count() or 1, math.ceil(needed))
