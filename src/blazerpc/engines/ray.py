"""Ray Serve as the engine: one connection to Ray, lost and found again, and the calls on it.

https://docs.ray.io/en/latest/serve/api/index.html
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import wait
from contextlib import suppress
from typing import Any, Final, TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from ray import cloudpickle
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from blazerpc.config import RayEngine
from blazerpc.engines.cluster import Cluster, aside
from blazerpc.engines.deployments import Deployments, replica_concurrency
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

T = TypeVar("T")

log: logging.Logger = logging.getLogger("blazerpc")

#: Seconds between two looks at whether Ray is there.
_PULSE: Final = 0.5

#: Seconds between two looks at whether it has the models.
_ROUND: Final = 2.0

#: Seconds that the end has once it is to be now.
_HURRY: Final = 10.0


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
        self._cluster = Cluster(engine, models)
        self._deployments = Deployments(engine, app, models)
        self._connection: _Connection | None = None
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
        if not self._cluster.own and not await asyncio.to_thread(self._cluster.answers):
            raise StartupError(
                f"no Ray at {self._cluster.address}; start one with ray start --head, or leave the "
                "address out"
            )
        await self._connect()
        self._watch = asyncio.create_task(self._watching())

    async def close(self) -> None:
        """Take away what no other front door needs, and disconnect.

        When it is cancelled it does so all the same, and has some seconds for it.
        """
        if self._watch is not None:
            self._watch.cancel()
        self._lose()
        leaving = asyncio.wrap_future(aside(self._leave))
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            if not await _in_the_end(leaving, _HURRY):
                log.warning(
                    "Ray was not left in %g s; replicas on a shared one stay until another front "
                    "door of the app stops",
                    _HURRY,
                )
            raise

    async def _connect(self) -> None:
        try:
            await self._cluster.connect()
            door, handles = await asyncio.wrap_future(aside(self._deployments.enter))
        except BlazeRPCError:
            raise
        except Exception as error:
            raise StartupError(f"Ray: {described(error)}") from error
        self._connection = _Connection(door, handles)

    def _lose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.lose()

    def _leave(self) -> None:
        if not self._cluster.own and self._cluster.answers():
            leaving = aside(self._deployments.leave)
            # Ray may go meanwhile, and not say so.
            while not wait([leaving], _PULSE).done and self._cluster.answers():
                pass
            if leaving.done() and (error := leaving.exception()) is not None:
                log.error("taking the replicas away failed", exc_info=error)
        self._cluster.leave()

    async def _watching(self) -> None:
        """Notice when Ray or the models go, and connect and deploy again."""
        while True:
            await self._loss()
            self._tell(False)
            self._lose()
            await asyncio.wrap_future(aside(self._cluster.disconnect))
            await self._come_back()
            log.info("Ray is back, and has the models")
            self._tell(True)

    async def _loss(self) -> None:
        """Return when Ray has gone, or has the models no more."""
        lost = asyncio.wrap_future(aside(self._deployments.lost))
        asked = time.monotonic()
        while True:
            await asyncio.sleep(_PULSE)
            where = f"Ray at {self._cluster.address}"
            if not await asyncio.to_thread(self._cluster.answers):
                log.error("%s has gone; calls are UNAVAILABLE until it is back", where)
                return
            if not lost.done():
                continue
            if lost.result():
                text = "%s has the models no more; calls are UNAVAILABLE until it has them again"
                log.error(text, where)
                return
            if time.monotonic() > asked + _ROUND:
                asked = time.monotonic()
                lost = asyncio.wrap_future(aside(self._deployments.lost))

    async def _come_back(self) -> None:
        while self._connection is None:
            await asyncio.sleep(_PULSE)
            if not self._cluster.own and not await asyncio.to_thread(self._cluster.answers):
                continue
            try:
                await self._connect()
            except StartupError as error:
                log.warning("Ray is not back yet: %s", error)
                await asyncio.wrap_future(aside(self._cluster.disconnect))


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
        self._warned = ""

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
            self._refuse_unsendable(kwargs, error)
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
            self._refuse_unsendable(arguments, error)
            raise self._explained(error) from error

    def _item(self, item: object) -> object:
        return received(item, self._model.name) if isinstance(item, Failure) else item

    def _refuse_unsendable(self, arguments: Mapping[str, object], error: Exception) -> None:
        """Raise ``InferenceError`` when ``error`` is Ray's for what cannot be sent.

        Ray's own has the arguments in it, which are not for the log.
        """
        if isinstance(error, (RayError, RayServeException)):
            return
        names = [name for name, value in arguments.items() if not _sendable(value)]
        if names:
            what = ", ".join(f"{name} ({type(arguments[name]).__qualname__})" for name in names)
            text = f"model {self._model.name!r} was not called: cannot pickle {what}"
            refusal = InferenceError(text, model_name=self._model.name)
            log.error("%s, error id %s", text, refusal.error_id)
            refusal.logged = True
            raise refusal from None

    def _explained(self, error: Exception) -> Exception:
        """Return what is raised for what Ray raised."""
        what = f"model {self._model.name!r}"
        match error:
            case RayTaskError():
                pass
            case RayError() | RayServeException():
                text = f"{what}: {' '.join(str(error).split())}"
                # It is the same for all calls of a replica that has died.
                if text != self._warned:
                    self._warned = text
                    log.warning(text)
                return GRPCError(Status.UNAVAILABLE, f"the replica of {what} has gone")
        return InferenceError(f"{what} raised {error!r}", model_name=self._model.name)


#: Stands for the end of a stream.
_END: Final = object()


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _next(items: Any) -> object:
    return await anext(items, _END)


def _sendable(value: object) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:  # whatever its own code raises
        return False
    return True


def _cancel(response: Any) -> None:
    with suppress(Exception):  # it has ended, or Ray has
        response.cancel()


async def _in_the_end(future: asyncio.Future[None], seconds: float) -> bool:
    """Wait for something, whoever cancels that; return whether it has ended."""
    end = time.monotonic() + seconds
    while not future.done() and (left := end - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future], timeout=left)
    return future.done()


def _nobody(ready: bool) -> None:
    """Be told, and do nothing."""
