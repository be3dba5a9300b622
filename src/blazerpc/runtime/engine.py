"""What stands between a request's way and the code of its model: where that runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

from blazerpc.runtime.executor import ModelExecutor
from blazerpc.runtime.limiter import Slot
from blazerpc.runtime.model import ModelInfo


class ModelCode(Protocol):
    """The code of one model, here or elsewhere."""

    @property
    def concurrency(self) -> int | None:
        """Calls that it takes at one time; None for any number."""

    @property
    def asynchronous(self) -> bool:
        """Whether the code of a call that is cancelled ends with it."""

    async def start(self) -> None:
        """Make it ready for calls.

        Raises:
            StartupError: when it cannot be.
        """

    async def execute(self, kwargs: Mapping[str, object], slot: Slot | None = None) -> object:
        """Call the model, and return what it returns.

        Args:
            kwargs: of the function.
            slot: kept for as long as the function runs here, whatever becomes of this call.

        Raises:
            GRPCError: when the model raised one, or cannot be reached.
            InferenceError: from whatever else it raised.
        """

    async def stream(
        self, kwargs: Mapping[str, object], slot: Slot | None = None
    ) -> AsyncGenerator[object, None]:
        """Call the model, and return what yields its results; close that to close the model's.

        Raises:
            GRPCError: as ``execute``, here or between results.
            InferenceError: likewise.
        """

    async def close(self) -> None:
        """End; it is not called any more."""


class Engine(Protocol):
    """Where the models of an app run."""

    def code(self, model: ModelInfo) -> ModelCode:
        """Return the code of one of the models."""

    def when_ready(self, tell: Callable[[bool], None]) -> None:
        """Have ``tell`` called with False when the engine has gone, with True when it is back."""

    async def start(self) -> None:
        """Begin, before the code of any model.

        Raises:
            StartupError: when it cannot.
        """

    async def close(self) -> None:
        """End, after the code of all models."""


class LocalEngine:
    """Runs the models in this process."""

    def code(self, model: ModelInfo) -> ModelCode:
        """Return the model's executor."""
        return ModelExecutor(model)

    def when_ready(self, tell: Callable[[bool], None]) -> None:
        """Do nothing: while this process serves, its models can be called."""

    async def start(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
