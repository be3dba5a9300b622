"""A result and what came beside it: metadata, and what a BlazeRPC server says of its work."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic, ParamSpec, TypeVar, overload

from blazerpc_client.metadata import (
    BATCH_SIZE,
    COMPUTE_MS,
    QUEUE_MS,
    ReceivedMetadata,
    Recorder,
    recording,
)

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NUMBER: Final = re.compile(r"[0-9]{1,18}(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_COUNT: Final = re.compile("[0-9]{1,18}")


class Provenance(ABC):
    """What a BlazeRPC server says of a call; None where a server does not, or says no number."""

    @abstractmethod
    def _said(self) -> ReceivedMetadata: ...

    @property
    def queue_ms(self) -> float | None:
        """Milliseconds that the request waited before the model ran."""
        return _milliseconds(self._said().get(QUEUE_MS))

    @property
    def compute_ms(self) -> float | None:
        """Milliseconds that the model took, for all requests of the batch."""
        return _milliseconds(self._said().get(COMPUTE_MS))

    @property
    def batch_size(self) -> int | None:
        """The rows of the batch, or its requests where these have no rows; this one included."""
        text = self._said().get(BATCH_SIZE)
        return int(text) if isinstance(text, str) and _COUNT.fullmatch(text) else None


def _milliseconds(text: str | bytes | None) -> float | None:
    number = float(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


@dataclass(frozen=True, kw_only=True, eq=False)  # a result may be an array, which has no one ==
class Response(Provenance, Generic[T_co]):
    """A result, and what came beside it.

    Attributes:
        result: what the call returns by itself.
        initial_metadata: that came before it.
        trailing_metadata: that came after it.
    """

    result: T_co
    initial_metadata: ReceivedMetadata
    trailing_metadata: ReceivedMetadata

    def _said(self) -> ReceivedMetadata:
        return self.trailing_metadata


class StreamProvenance(Provenance):
    """What came beside a stream of results; it is there when the stream has ended well.

    Before, and of a stream that failed or was left, each attribute raises ``RuntimeError``.
    """

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._whole: bool | None = None

    @property
    def initial_metadata(self) -> ReceivedMetadata:
        """The metadata that came before the first result."""
        return self._recorded().initial

    @property
    def trailing_metadata(self) -> ReceivedMetadata:
        """The metadata that came after the last result."""
        return self._recorded().trailing

    def _said(self) -> ReceivedMetadata:
        return self.trailing_metadata

    def _recorded(self) -> Recorder:
        if self._whole is None:
            raise RuntimeError("the stream has not ended; its metadata comes with its end")
        if not self._whole:
            raise RuntimeError("the stream failed or was left; its metadata comes with its end")
        return self._recorder

    def _end(self, *, whole: bool) -> None:
        """Note how the stream ended, the first time that it does."""
        if self._whole is None:
            self._whole = whole


class StreamResponse(StreamProvenance, AsyncIterator[T_co]):
    """A stream of results, and what came beside it.

    Args:
        results: of the call.
    """

    def __init__(self, results: AsyncIterator[T_co]) -> None:
        super().__init__()
        self._results = results

    async def __anext__(self) -> T_co:
        try:
            with recording(self._recorder):
                return await anext(self._results)
        except StopAsyncIteration:
            self._end(whole=True)
            raise
        except BaseException:
            self._end(whole=False)
            raise

    async def aclose(self) -> None:
        """Leave the stream, which ends the call."""
        self._end(whole=False)
        if isinstance(self._results, AsyncGenerator):
            await self._results.aclose()


@overload
def with_response(
    call: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
) -> Coroutine[Any, Any, Response[T]]: ...


@overload
def with_response(
    call: Callable[P, AsyncIterator[T]], /, *args: P.args, **kwargs: P.kwargs
) -> StreamResponse[T]: ...


def with_response(
    call: Callable[P, Coroutine[Any, Any, T] | AsyncIterator[T]],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Coroutine[Any, Any, Response[T]] | StreamResponse[T]:
    """Call a method of a client; return its result with what came beside it.

    Args:
        call: the method, such as ``client.predict_sentiment``.
        args: of the method.
        kwargs: likewise.

    It may be a function of yours that calls methods, too: the metadata is that of the last of its
    calls that succeeded, and empty when there is none.

    Raises:
        RpcError: as the method does.
    """
    answer = call(*args, **kwargs)
    return StreamResponse(answer) if isinstance(answer, AsyncIterator) else _response(answer)


async def _response(answer: Coroutine[Any, Any, T]) -> Response[T]:
    recorder = Recorder()
    with recording(recorder):
        result = await answer
    return Response(
        result=result, initial_metadata=recorder.initial, trailing_metadata=recorder.trailing
    )
