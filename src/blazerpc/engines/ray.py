"""Ray Serve as the engine: one connection to Ray, lost and found again, and the calls on it.

https://docs.ray.io/en/latest/serve/api/index.html
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import signal
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

import ray
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from blazerpc.config import RayEngine
from blazerpc.engines.deployments import NAMESPACE, Deployments, replica_concurrency
from blazerpc.engines.failure import Failure, received
from blazerpc.engines.replica import WINDOW
from blazerpc.exceptions import (
    BlazeRPCError,
    ConfigurationError,
    InferenceError,
    StartupError,
)
from blazerpc.runtime.executor import described
from blazerpc.runtime.limiter import Slot
from blazerpc.runtime.model import ModelInfo
from blazerpc.runtime.threads import DaemonPool

T = TypeVar("T")

log: logging.Logger = logging.getLogger("blazerpc")

#: Seconds that Ray has to take a connection, or to start.
_CONNECTING: Final = 60.0

#: Seconds between two looks at whether Ray is there.
_PULSE: Final = 0.5

#: Seconds that such a look may take.
_PATIENCE: Final = 2.0


class RayServe:
    """Runs models in replicas of Ray Serve.

    Args:
        engine: its options.
        app: name of the app.
        models: of it.

    Raises:
        ConfigurationError: for a model that cannot leave this process.
    """

    def __init__(self, engine: RayEngine, app: str, models: Sequence[ModelInfo]) -> None:
        for model in models:
            if model.injected.context:
                raise ConfigurationError(
                    f"model {model.name!r} takes the Context of its call, which stays in this "
                    "process; on Ray, take what it needs of it as Depends"
                )
        self._options = engine
        self._models = list(models)
        self._deployments = Deployments(engine, app, models)
        self._connection: _Connection | None = None
        self._initializing: Future[None] | None = None
        self._address = engine.address
        self._tell: Callable[[bool], None] = _nobody
        self._watch: asyncio.Task[None] | None = None

    def code(self, model: ModelInfo) -> RayCode:
        """Return what calls the replicas of a model."""
        return RayCode(self, model)

    def when_ready(self, tell: Callable[[bool], None]) -> None:
        """Have ``tell`` called when Ray has gone, and when it is back."""
        self._tell = tell

    @property
    def connection(self) -> _Connection:
        """The connection to Ray.

        Raises:
            GRPCError: when there is none.
        """
        if self._connection is None:
            raise GRPCError(Status.UNAVAILABLE, "Ray is not there")
        return self._connection

    async def start(self) -> None:
        """Connect to Ray, or start one, and deploy the models; ``close`` ends a part of that, too.

        Raises:
            StartupError: when Ray cannot be reached, or a model does not start.
        """
        if self._address is not None and not await _answers(self._address):
            raise StartupError(
                f"no Ray at {self._address}; start one with ray start --head, or leave the address "
                "out"
            )
        await self._connect()
        self._watch = asyncio.create_task(self._watching())

    async def close(self) -> None:
        """Take away what no other front door needs, and disconnect."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._connection is not None:
            self._connection.lose()
            self._connection = None
        if self._address is not None and await _answers(self._address):
            await asyncio.to_thread(self._leave)
        else:
            await asyncio.to_thread(ray.shutdown)

    async def _connect(self) -> None:
        try:
            await self._initialized()
            _take_signals_back()
            door, handles = await asyncio.to_thread(self._deployments.enter)
        except BlazeRPCError:
            raise
        except Exception as error:
            raise StartupError(f"Ray: {described(error)}") from error
        self._connection = _Connection(door, handles)

    async def _initialized(self) -> None:
        """Connect this process to Ray, or start one.

        Raises:
            StartupError: when Ray takes too long; it has no such limit, nor an end, of its own.
        """
        # A thread that does not keep the process: what has that address may be no Ray.
        self._initializing = DaemonPool(1, "blazerpc-ray").submit(self._init)
        try:
            async with asyncio.timeout(_CONNECTING):
                await asyncio.wrap_future(self._initializing)
        except TimeoutError:
            what = f"at {self._address} has not" if self._address else "on this machine has not"
            raise StartupError(f"the Ray {what} answered in {_CONNECTING:g} s") from None

    def _init(self) -> None:
        given = self._options.address
        # One of its own has room for all, whatever the machine has: they share its cores.
        ray.init(
            given or "local",
            num_cpus=_cores(self._models) if given is None else None,
            namespace=NAMESPACE,
            include_dashboard=False if given is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        self._address = ray.get_runtime_context().gcs_address
        if given is None:
            self._refuse_missing_gpus()

    def _refuse_missing_gpus(self) -> None:
        """Raise ``StartupError`` for what a Ray that does not grow would wait for in vain."""
        needed = sum(model.resources.gpus * model.resources.bounds[0] for model in self._models)
        found = ray.cluster_resources().get("GPU", 0)
        if needed > found:
            raise StartupError(f"the models need {needed:g} GPUs, and this machine has {found:g}")

    def _leave(self) -> None:
        if self._initializing is not None and not self._initializing.done():
            return
        if self._options.address is not None:
            try:
                self._deployments.leave()
            except Exception:
                log.exception("taking the replicas away failed")
        ray.shutdown()

    async def _watching(self) -> None:
        """Notice when Ray goes, and connect again when it is back."""
        while True:
            await asyncio.sleep(_PULSE)
            if self._address is None or await _answers(self._address):
                continue
            log.error("Ray at %s has gone; calls are UNAVAILABLE until it is back", self._address)
            self._tell(False)
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.lose()
            await asyncio.to_thread(ray.shutdown)
            await self._come_back()
            log.info("Ray is back")
            self._tell(True)

    async def _come_back(self) -> None:
        given = self._options.address
        while self._connection is None:
            await asyncio.sleep(_PULSE)
            if given is not None and not await _answers(given):
                continue
            try:
                await self._connect()
            except StartupError as error:
                log.warning("Ray is not back yet: %s", error)
                await asyncio.to_thread(ray.shutdown)


class _Connection:
    """What is in use of one connection to Ray.

    Attributes:
        door: the actor of this front door.
        handles: what calls each model, by its stem.
        numbers: of the streams, which the door knows them by.
    """

    def __init__(self, door: Any, handles: Mapping[str, DeploymentHandle[Any]]) -> None:
        self.door = door
        self.handles = handles
        self.numbers: Iterator[int] = itertools.count()
        self._waiting: set[asyncio.Task[Any]] = set()
        self._lost = False

    def lose(self) -> None:
        """End all that waits for Ray: it is gone, and does not say so itself."""
        self._lost = True
        for task in self._waiting:
            task.cancel()

    async def answer(self, awaitable: Awaitable[T]) -> T:
        """Return what Ray gives.

        Raises:
            GRPCError: UNAVAILABLE, when the connection is lost meanwhile.
        """
        task = asyncio.create_task(_awaited(awaitable))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        try:
            return await task
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise
            what = "Ray has gone" if self._lost else "the call was cancelled on Ray"
            raise GRPCError(Status.UNAVAILABLE, what) from None


class RayCode:
    """Calls the replicas of one model.

    Attributes:
        concurrency: calls that all of its replicas take at one time.
        asynchronous: a call that is cancelled leaves its replica.
    """

    def __init__(self, engine: RayServe, model: ModelInfo) -> None:
        self._engine = engine
        self._model = model
        self.concurrency: int | None = replica_concurrency(model) * model.resources.bounds[1]
        self.asynchronous: bool = True

    async def start(self) -> None:
        """Do nothing: the engine has deployed all models."""

    async def close(self) -> None:
        """Do nothing: the engine takes all models away."""

    async def execute(self, kwargs: Mapping[str, object], slot: Slot | None = None) -> object:
        """Call the model in one of its replicas.

        Raises:
            GRPCError: when the model raised one; UNAVAILABLE when Ray or the replica has gone.
            InferenceError: from whatever else it raised.
        """
        connection = self._engine.connection
        try:
            response = connection.handles[self._model.stem].call.remote(dict(kwargs))
            try:
                outcome = await connection.answer(response)
            except BaseException:
                _cancel(response)
                raise
        except (GRPCError, BlazeRPCError):
            raise
        except Exception as error:
            raise self._explained(error) from error
        if isinstance(outcome, Failure):
            raise received(outcome, self._model.name)
        if isinstance(outcome, list) and any(isinstance(item, Failure) for item in outcome):
            return [self._item(item) for item in outcome]
        return outcome

    async def stream(
        self, kwargs: Mapping[str, object], slot: Slot | None = None
    ) -> AsyncGenerator[object, None]:
        """Call the model in one of its replicas, and return what yields its results.

        Raises:
            Exception: as ``execute``, here or between results.
        """
        return self._items(self._engine.connection, dict(kwargs))

    async def _items(
        self, connection: _Connection, arguments: dict[str, object]
    ) -> AsyncGenerator[object, None]:
        door, number = connection.door, next(connection.numbers)
        items = None
        try:
            try:
                await connection.answer(door.begin.remote(number))
                handle = connection.handles[self._model.stem].options(stream=True)
                items = handle.stream.remote(arguments, door, number)
                count = 0
                while (item := await connection.answer(_next(items))) is not _END:
                    if isinstance(item, Failure):
                        raise received(item, self._model.name)
                    yield item
                    count += 1
                    if count % (WINDOW // 2) == 0:
                        door.taken.remote(number, count)
            finally:
                if items is not None:
                    _cancel(items)
                with suppress(Exception):  # Ray has gone
                    door.end.remote(number)
        except (GRPCError, BlazeRPCError):
            raise
        except Exception as error:
            raise self._explained(error) from error

    def _item(self, item: object) -> object:
        return received(item, self._model.name) if isinstance(item, Failure) else item

    def _explained(self, error: Exception) -> Exception:
        """Return what is raised for what Ray raised."""
        what = f"model {self._model.name!r}"
        match error:
            case RayTaskError():
                pass
            case RayError() | RayServeException():
                log.warning("%s: %s", what, " ".join(str(error).split()))
                return GRPCError(Status.UNAVAILABLE, f"the replica of {what} has gone")
        return InferenceError(f"{what} raised {error!r}", model_name=self._model.name)


#: Stands for the end of a stream.
_END: Final = object()


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _next(items: Any) -> object:
    return await anext(items, _END)


def _cancel(response: Any) -> None:
    with suppress(Exception):  # it has ended, or Ray has
        response.cancel()


async def _answers(address: str) -> bool:
    """Return whether anybody listens at that address."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_PATIENCE):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True


def _take_signals_back() -> None:
    """Have signals handled as they were: Ray's core takes SIGTERM, and aborts the process."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _cores(models: Sequence[ModelInfo]) -> int:
    needed = sum(model.resources.cpus * model.resources.bounds[1] for model in models)
    return max(os.cpu_count() or 1, math.ceil(needed))


def _nobody(ready: bool) -> None:
    """Be told, and do nothing."""
