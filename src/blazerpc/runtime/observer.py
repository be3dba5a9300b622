"""How the requests of a model fare: what the runtime tells metrics and traces, if there are any."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from blazerpc.runtime.model import ModelInfo


@dataclass(slots=True)
class Timing:
    """How a request fared; nothing that has not happened is set.

    Attributes:
        queue: seconds that it waited.
        compute: seconds that its batch took.
        batch_size: rows in that batch.
    """

    queue: float | None = None
    compute: float | None = None
    batch_size: int | None = None


#: Of the current call; set by whoever wants to know how its request fares.
current_timing: Final[ContextVar[Timing | None]] = ContextVar("current_timing", default=None)


class Dropped(StrEnum):
    """Why the model was not called for a request.

    Attributes:
        QUEUE_FULL: too many waited for the model.
        TOO_MANY_CALLS: too many calls of all models ran.
        DEADLINE: its caller's time was over.
        CANCELLED: its caller went away.
    """

    QUEUE_FULL = "queue_full"
    TOO_MANY_CALLS = "too_many_calls"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"


class Begun(NamedTuple):
    """A request whose turn has come.

    Attributes:
        arrived: when it had come, by ``time.monotonic``.
        context: of its caller.
    """

    arrived: float
    context: contextvars.Context


class ModelObserver:
    """Is told how the requests of one model fare; override what is of interest.

    All is told on the event loop, and takes the time of calls: do little, and do not block.
    """

    def queue_changed(self, by: int) -> None:
        """Take note that so many requests more wait, or so many fewer."""

    def dropped(self, reason: Dropped) -> None:
        """Take note that the model is not called for a request."""

    def running(self, requests: Sequence[Begun], rows: int) -> AbstractContextManager[None]:
        """Surround one call of the model.

        Args:
            requests: that it serves.
            rows: in the batch, which are the requests when one adds one row.
        """
        return nullcontext()


#: Gives the observer of a model, None when there is nothing to tell it.
Observe: TypeAlias = Callable[[ModelInfo], ModelObserver | None]


def observer_of(model: ModelInfo, observe: Sequence[Observe]) -> ModelObserver | None:
    """Return one observer for all that ``observe`` gives for a model, None when it gives none."""
    found = [observer for of in observe if (observer := of(model)) is not None]
    return found[0] if len(found) == 1 else _Several(found) if found else None


class _Several(ModelObserver):
    """Tells several; the first surrounds the others."""

    def __init__(self, observers: Sequence[ModelObserver]) -> None:
        self._observers = observers

    def queue_changed(self, by: int) -> None:
        for observer in self._observers:
            observer.queue_changed(by)

    def dropped(self, reason: Dropped) -> None:
        for observer in self._observers:
            observer.dropped(reason)

    @contextmanager
    def running(self, requests: Sequence[Begun], rows: int) -> Iterator[None]:
        with ExitStack() as stack:
            for observer in self._observers:
                stack.enter_context(observer.running(requests, rows))
            yield
