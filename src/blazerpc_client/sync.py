"""The base class of generated blocking clients: the asynchronous client, in a thread of its own."""

from __future__ import annotations

import atexit
import copy
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import ExitStack
from functools import partial
from itertools import islice
from threading import Event
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack, overload

try:
    from anyio import to_thread
    from anyio.from_thread import start_blocking_portal
except ImportError as _error:
    raise ImportError("blocking clients need anyio: pip install 'blazerpc[sync]'") from _error

from blazerpc_client.channel import Channel
from blazerpc_client.client import ServiceClient
from blazerpc_client.errors import FailedPrecondition
from blazerpc_client.metadata import Recorder, recording
from blazerpc_client.options import ChannelOptions, Metadata
from blazerpc_client.response import Response, StreamProvenance
from blazerpc_client.schema import (
    BidirectionalMethod,
    ClientStreamMethod,
    StreamMethod,
    UnaryMethod,
)
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.verify import Verify

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Request = TypeVar("Request")


class SyncServiceClient:
    """Base of generated blocking clients. Threads may share one; an event loop must not call it.

    Args:
        target: the server's ``HOST:PORT``, or another form of ``parse_target``; several servers
            take turns.
        timeout: seconds each call may take; None sets no deadline.
        metadata: sent with every call.
        wait_for_ready: as for ``ServiceClient``.
        verify: likewise.
        http: likewise.
        limits: likewise.
        reach: likewise.

    Raises:
        InvalidArgument: for a target, metadata, ``verify`` or ``http`` of another form, ``tls``
            that cannot be used, or credentials that may not be sent.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        wait_for_ready: bool = False,
        verify: Verify = "off",
        http: Http | None = None,
        limits: Limits = DEFAULT,
        **reach: Unpack[ChannelOptions],
    ) -> None:
        self._client = ServiceClient(
            target,
            timeout=timeout,
            metadata=metadata,
            wait_for_ready=wait_for_ready,
            verify=verify,
            http=http,
            limits=limits,
            **reach,
        )
        self._thread = ExitStack()
        self._portal = self._thread.enter_context(start_blocking_portal())
        self._thread.callback(self._portal.call, self._client.close)
        self._closed = Event()  # shared with the clients of with_options
        # The thread cannot be left to the interpreter's end: it would wait for an answer for ever.
        atexit.register(self._thread.close)

    def with_options(
        self,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        wait_for_ready: bool | None = None,
    ) -> Self:
        """Return the same client with other options for its calls, on the same connection.

        Args:
            timeout: seconds each call may take; None keeps the client's own.
            metadata: added to the client's own, over keys of the same name.
            wait_for_ready: whether each call waits for a server; None keeps the client's own.

        Raises:
            InvalidArgument: for metadata that gRPC cannot carry.
        """
        other = copy.copy(self)
        other._client = self._client.with_options(
            timeout=timeout, metadata=metadata, wait_for_ready=wait_for_ready
        )
        return other

    @property
    def _channel(self) -> Channel:
        return self._client._channel

    def close(self) -> None:
        """Close the connection; calls in flight fail with ``Unavailable``.

        Calls after it fail with ``FailedPrecondition``. It may be closed again.
        """
        self._closed.set()
        atexit.unregister(self._thread.close)
        self._thread.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _unary(
        self, method: UnaryMethod[T], arguments: dict[str, object], message: object = None
    ) -> T:
        return self._run(self._client._unary, method, arguments, message)

    def _stream(
        self, method: StreamMethod[T], arguments: dict[str, object], message: object = None
    ) -> Iterator[T]:
        # Not in the generator: arguments are checked here and now.
        return self._each(self._client._stream(method, arguments, message))

    def _client_stream(
        self, method: ClientStreamMethod[Request, T], requests: Iterable[Request]
    ) -> T:
        return self._run(self._client._client_stream, method, _in_threads(requests))

    def _bidirectional(
        self, method: BidirectionalMethod[Request, T], requests: Iterable[Request]
    ) -> Iterator[T]:
        return self._each(self._client._bidirectional(method, _in_threads(requests)))

    def _each(self, results: AsyncIterator[T]) -> Iterator[T]:
        try:
            while True:
                item = self._run(_next, results)
                if item is None:
                    return
                yield item[0]
        finally:
            if not self._closed.is_set():
                self._run(_close, results)

    def _run(self, function: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a coroutine function returns in the client's thread."""
        if self._closed.is_set():
            raise FailedPrecondition("the client is closed")
        return self._portal.call(partial(function, *args, **kwargs))


class StreamResponse(StreamProvenance, Iterator[T_co]):
    """A stream of results, and what came beside it.

    Args:
        results: of the call.
    """

    def __init__(self, results: Iterator[T_co]) -> None:
        super().__init__()
        self._results = results

    def __next__(self) -> T_co:
        try:
            with recording(self._recorder):
                return next(self._results)
        except StopIteration:
            self._end(whole=True)
            raise
        except BaseException:
            self._end(whole=False)
            raise

    def close(self) -> None:
        """Leave the stream, which ends the call."""
        self._end(whole=False)
        if isinstance(self._results, Generator):
            self._results.close()


@overload
def with_response(  # type: ignore[overload-overlap]  # an Iterator is a T; no other result is one
    call: Callable[P, Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
) -> StreamResponse[T]: ...


@overload
def with_response(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Response[T]: ...


def with_response(
    call: Callable[P, T | Iterator[T]], /, *args: P.args, **kwargs: P.kwargs
) -> Response[T] | StreamResponse[T]:
    """Call a method of a blocking client; return its result with what came beside it.

    Args:
        call: the method, such as ``client.predict_sentiment``, or a function that calls methods.
        args: of the method.
        kwargs: likewise.

    It is what ``blazerpc_client.with_response`` is to other clients.

    Raises:
        RpcError: as the method does.
    """
    recorder = Recorder()
    with recording(recorder):
        answer = call(*args, **kwargs)
    if isinstance(answer, Iterator):
        return StreamResponse(answer)
    return Response(
        result=answer, initial_metadata=recorder.initial, trailing_metadata=recorder.trailing
    )


async def _next(results: AsyncIterator[T]) -> tuple[T] | None:
    """Return the next result, None at the end."""
    async for result in results:
        return (result,)
    return None


async def _close(results: AsyncIterator[T]) -> None:
    if isinstance(results, AsyncGenerator):
        await results.aclose()


async def _in_threads(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield the items of an iterable that may block."""
    iterator = iter(items)
    while True:
        # Abandoned, because the server may answer while the iterable still waits.
        found = await to_thread.run_sync(_taken, iterator, abandon_on_cancel=True)
        if not found:
            return
        yield found[0]


def _taken(iterator: Iterator[T]) -> tuple[T, ...]:
    """Return the next item, or nothing. ``StopIteration`` cannot leave a thread."""
    return tuple(islice(iterator, 1))
