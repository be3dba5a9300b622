"""A decoded request's way to its result: its turn, its batch, what is injected, the model."""

from __future__ import annotations

import asyncio
import contextvars
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, cast

from grpclib.exceptions import GRPCError

from blazerpc.context import Context
from blazerpc.exceptions import DeadlineExceededError, InferenceError, OverloadedError
from blazerpc.runtime.batcher import Batcher
from blazerpc.runtime.dependencies import Dependencies
from blazerpc.runtime.engine import ModelCode
from blazerpc.runtime.executor import ModelExecutor
from blazerpc.runtime.inspection import BATCH
from blazerpc.runtime.limiter import Limiter, Slot
from blazerpc.runtime.model import Batching, ModelInfo
from blazerpc.runtime.observer import Begun, Dropped, ModelObserver, Timing
from blazerpc.runtime.rows import Arrays, merged, split
from blazerpc_client.wire.tensors import Dims

_NOTHING: Final = nullcontext()

#: What a request ends with whose turn has not come.
_NOT_BEGUN: Final = (OverloadedError, DeadlineExceededError, asyncio.CancelledError)


@dataclass(eq=False, slots=True, kw_only=True)
class Request:
    """A request that has been decoded.

    Attributes:
        arguments: of the model's function.
        dims: sizes of the symbolic dimensions.
        deadline: of the caller, by ``time.monotonic``.
        context: of the call, when the model needs one.
        timing: is filled.
        arrived: when it was decoded.
        abandoned: whether its caller has gone away.
    """

    arguments: dict[str, object]
    dims: Dims
    deadline: float | None = None
    context: Context | None = None
    timing: Timing = field(default_factory=Timing)
    arrived: float = field(default_factory=time.monotonic)
    abandoned: bool = False


class ModelRunner(ABC):
    """Runs the requests of one model.

    Args:
        model: that is run.
        code: of it, wherever that runs.
        observer: is told how its requests fare.
    """

    def __init__(
        self, model: ModelInfo, code: ModelCode, observer: ModelObserver | None = None
    ) -> None:
        self.model: ModelInfo = model
        self.observer: ModelObserver | None = observer
        self.code: ModelCode = code
        # What a model depends on is made here, where its call is.
        self._here = code if isinstance(code, ModelExecutor) else ModelExecutor(model)
        self.dependencies: Dependencies = Dependencies(model.injected, self._here)

    async def start(self) -> None:
        """Build the model of a class, and warm it up.

        Raises:
            StartupError: when its code raises.
        """
        await self.code.start()

    async def stop(self) -> None:
        """End; nothing is called any more."""
        await self.code.close()
        if self._here is not self.code:
            await self._here.close()

    def incoming(self) -> AbstractContextManager[None]:
        """Tell of a request whose message is still on its way."""
        return _NOTHING

    @abstractmethod
    async def call(self, request: Request) -> object:
        """Return the model's result.

        Raises:
            OverloadedError: when too many requests wait already.
            DeadlineExceededError: when the caller's time is over before the model begins.
            GRPCError: when the model raised one.
            InferenceError: from whatever else it raised.
        """

    def _note_dropped(self, request: Request, error: BaseException) -> None:
        """Tell the observer of a request that ends, if its turn had not come."""
        if self.observer is None or request.timing.queue is not None:
            return
        late = request.deadline is not None and request.deadline <= time.monotonic()
        if isinstance(error, OverloadedError):
            self.observer.dropped(Dropped.QUEUE_FULL)
        # grpclib cancels what outlives its deadline.
        elif late or isinstance(error, DeadlineExceededError):
            self.observer.dropped(Dropped.DEADLINE)
        else:
            self.observer.dropped(Dropped.CANCELLED)


def model_runner(
    model: ModelInfo, code: ModelCode, observer: ModelObserver | None = None
) -> ModelRunner:
    """Return what runs the requests of ``model``, and tells the observer how they fare."""
    runner = SingleRunner if model.batching is Batching.NONE else BatchRunner
    return runner(model, code, observer)


class SingleRunner(ModelRunner):
    """Calls the model once for each request."""

    def __init__(
        self, model: ModelInfo, code: ModelCode, observer: ModelObserver | None = None
    ) -> None:
        super().__init__(model, code, observer)
        what = f"model {model.name!r}"
        self.limiter: Limiter = Limiter(
            code.concurrency, model.options.max_queue_size, what, observer
        )

    async def call(self, request: Request) -> object:
        slot = await self._turn(request)
        begun = self._begin(request)
        try:
            with self._observed(request):
                if not self.dependencies:
                    return await self.code.execute(request.arguments, slot)
                async with self.dependencies.provided(request.context) as injected:
                    return await self.code.execute(request.arguments | injected, slot)
        finally:
            request.timing.compute = time.monotonic() - begun
            slot.leave()

    async def stream(self, request: Request) -> AsyncGenerator[object, None]:
        """Yield the model's results; close this generator to close the model's.

        Raises:
            Exception: as ``call``; results before it were yielded.
        """
        slot = await self._turn(request)
        begun = self._begin(request)
        try:
            with self._observed(request):
                async with self.dependencies.provided(request.context) as injected:
                    items = await self.code.stream(request.arguments | injected, slot)
                    async with aclosing(items):
                        async for item in items:
                            yield item
        finally:
            request.timing.compute = time.monotonic() - begun
            slot.leave()

    async def _turn(self, request: Request) -> Slot:
        try:
            return await self.limiter.acquire(request.deadline)
        except _NOT_BEGUN as error:
            self._note_dropped(request, error)
            raise

    def _observed(self, request: Request) -> AbstractContextManager[None]:
        if self.observer is None:
            return _NOTHING
        return self.observer.running([Begun(request.arrived, contextvars.copy_context())], 1)

    @staticmethod
    def _begin(request: Request) -> float:
        begun = time.monotonic()
        request.timing.queue = begun - request.arrived
        request.timing.batch_size = 1
        return begun


class BatchRunner(ModelRunner):
    """Calls the model once for many requests."""

    def __init__(
        self, model: ModelInfo, code: ModelCode, observer: ModelObserver | None = None
    ) -> None:
        super().__init__(model, code, observer)
        options = model.options
        self.batcher: Batcher[Request, object] = Batcher(
            options.max_batch_size if options.enable_batching else 1,
            options.batch_timeout_ms,
            max_queue_size=options.max_queue_size,
            max_concurrency=code.concurrency or 1,
            abandon=code.asynchronous,
            what=f"model {model.name!r}",
            observer=observer,
        )

    async def start(self) -> None:
        await super().start()
        await self.batcher.start(self._serve)

    async def stop(self) -> None:
        await self.batcher.stop()
        await super().stop()

    def incoming(self) -> AbstractContextManager[None]:
        return self.batcher.incoming()

    async def call(self, request: Request) -> object:
        rowwise = self.model.batching is Batching.ROWS
        dims = request.dims
        # Requests that differ in a dimension have no common shape.
        group = tuple(sorted(item for item in dims.items() if not (rowwise and item[0] == BATCH)))
        try:
            return await self.batcher.submit(
                request,
                rows=dims[BATCH] if rowwise else 1,
                group=group,
                deadline=request.deadline,
                timing=request.timing,
            )
        except _NOT_BEGUN as error:
            request.abandoned = True
            self._note_dropped(request, error)
            raise

    async def _serve(self, requests: list[Request]) -> Sequence[object]:
        try:
            return await self._run(requests)
        except (GRPCError, InferenceError):
            if len(requests) == 1 or not self.model.isolate_failures:
                raise
            return [await self._alone(request) for request in requests]

    async def _alone(self, request: Request) -> object:
        late = request.deadline is not None and request.deadline <= time.monotonic()
        if request.abandoned or late:
            return DeadlineExceededError("deadline exceeded before it was run again")
        try:
            return (await self._run([request]))[0]
        except (GRPCError, InferenceError) as error:
            return error

    async def _run(self, requests: list[Request]) -> Sequence[object]:
        arguments: dict[str, Any]
        rowwise = self.model.batching is Batching.ROWS
        if rowwise:
            arguments = dict(merged([cast(Arrays, request.arguments) for request in requests]))
        else:
            arguments = {
                name: [request.arguments[name] for request in requests]
                for name in self.model.parameters
            }
        if self.dependencies:
            async with self.dependencies.provided(None) as injected:
                result = await self.code.execute(arguments | injected)
        else:
            result = await self.code.execute(arguments)
        if rowwise:
            counts = [request.dims[BATCH] for request in requests]
            return split(result, counts, self.model.name)
        return self._of_each(result, len(requests))

    def _of_each(self, results: object, count: int) -> list[object]:
        """Return the result of each request, of a function that returns a list of them.

        Raises:
            InferenceError: when it is none, or has another length.
        """
        name = self.model.name
        if not isinstance(results, list | tuple) or len(results) != count:
            got = f"{len(results)}" if isinstance(results, list | tuple) else type(results).__name__
            raise InferenceError(
                f"model {name!r} returned {got} for a batch of {count} requests", model_name=name
            )
        return [self._own(result) for result in results]

    def _own(self, result: object) -> object:
        """Return one request's result, an exception of the model's as ours."""
        if not isinstance(result, Exception) or isinstance(result, GRPCError):
            return result
        error = InferenceError(
            f"model {self.model.name!r} failed a request: {result!r}", model_name=self.model.name
        )
        error.__cause__ = result
        return error
