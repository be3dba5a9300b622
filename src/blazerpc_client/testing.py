"""Test what uses a generated client without a server: functions that answer in its place.

Arguments and results pass through the messages of the schema, so that what the server would refuse
is refused here too. There is no socket.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
)
from contextlib import asynccontextmanager
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeAlias, TypeVar, overload

from google.protobuf.message import Message

from blazerpc_client.channel import Channel
from blazerpc_client.client import ServiceClient
from blazerpc_client.errors import DeadlineExceeded, Internal, Unimplemented
from blazerpc_client.options import CallOptions, Metadata, Rpc
from blazerpc_client.schema import Method
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.tensors import Dims

C = TypeVar("C", bound=ServiceClient)
P = ParamSpec("P")
T = TypeVar("T")

_END: Final = object()


#: Two steps, method before function, so that a type checker takes P and T from the method alone.
_Decorator: TypeAlias = Callable[[Callable[P, T]], Callable[P, T]]


class FakeServer(Generic[C]):
    """Functions that answer the calls of a generated client.

    Args:
        client: the generated class; not one of a blocking client.

    Raises:
        TypeError: for any other class.
    """

    def __init__(self, client: type[C]) -> None:
        if not issubclass(client, ServiceClient):
            raise TypeError(f"{client!r} is no generated client; a blocking one has no fake server")
        self._class = client
        self._functions: dict[str, Callable[..., object]] = {}

    @overload
    def answers(
        self, method: Callable[Concatenate[C, P], Coroutine[Any, Any, T]]
    ) -> _Decorator[P, Awaitable[T] | T]: ...

    @overload
    def answers(
        self, method: Callable[Concatenate[C, P], AsyncIterator[T]]
    ) -> _Decorator[P, Iterable[T] | AsyncIterable[T]]: ...

    def answers(self, method: Callable[..., object]) -> object:
        """Have the decorated function answer the calls of ``method``.

        Args:
            method: of the generated class, such as ``InferenceClient.predict_sentiment``.

        The function takes the arguments of a model by name; of another service, the request or the
        asynchronous iterable of them. It returns the result, or an iterable of them where the
        method does, and may be a coroutine function or an asynchronous generator. What it raises,
        the call raises.

        Raises:
            ValueError: when the class has no such method, or it is answered already.
        """
        name = getattr(method, "__name__", repr(method))
        own = getattr(self._class, name, None) is method and not hasattr(ServiceClient, name)
        if not own:
            raise ValueError(f"{name} is no method of {self._class.__name__} that makes a call")

        def register(function: Callable[..., object]) -> Callable[..., object]:
            if name in self._functions:
                raise ValueError(f"{name} is answered already")
            self._functions[name] = function
            return function

        return register

    def client(self, *, timeout: float | None = None, metadata: Metadata | None = None) -> C:
        """Return a client whose calls are answered.

        Args:
            timeout: as for the generated class.
            metadata: likewise; nobody reads it.

        Raises:
            InvalidArgument: for metadata that gRPC cannot carry.
        """
        client = self._class("in-memory:1", timeout=timeout, metadata=metadata)
        client._channel = _FakeChannel(self._functions)
        return client


class _FakeChannel(Channel):
    """Calls functions."""

    def __init__(self, functions: dict[str, Callable[..., object]]) -> None:
        super().__init__("in-memory:1")
        self._functions = functions

    async def unary(self, rpc: Rpc, request: Message, options: CallOptions) -> Message:
        dims: Dims = {}
        async with _until(_deadline(options)):
            return _written(rpc, await _awaited(self._answer(rpc, request, dims)), dims)

    async def server_stream(
        self, rpc: Rpc, request: Message, options: CallOptions
    ) -> AsyncGenerator[Message, None]:
        dims: Dims = {}
        deadline = _deadline(options)
        async for result in _each(self._answer(rpc, request, dims), deadline):
            # A size that only results have may differ from one item to the next.
            yield _written(rpc, result, dict(dims))

    async def client_stream(
        self, rpc: Rpc, requests: AsyncIterable[Message], options: CallOptions
    ) -> Message:
        async with _until(_deadline(options)):
            return _written(rpc, await _awaited(self._function(rpc)(_read(rpc, requests))), {})

    async def bidirectional(
        self, rpc: Rpc, requests: AsyncIterable[Message], options: CallOptions
    ) -> AsyncGenerator[Message, None]:
        deadline = _deadline(options)
        async for result in _each(self._function(rpc)(_read(rpc, requests)), deadline):
            yield _written(rpc, result, {})

    def _function(self, rpc: Rpc) -> Callable[..., object]:
        name = _method(rpc).python_name
        if name not in self._functions:
            raise Unimplemented(f"nothing answers {name}()")
        return self._functions[name]

    def _answer(self, rpc: Rpc, request: Message, dims: Dims) -> object:
        method, function = _method(rpc), self._function(rpc)
        if method.is_model:
            return function(**method.read_arguments(request, dims))
        return function(method.read_message(request))


def _method(rpc: Rpc) -> Method[object]:
    assert isinstance(rpc, Method)  # what clients call with
    return rpc


def _written(rpc: Rpc, result: object, dims: Dims) -> Message:
    method = _method(rpc)
    try:
        return method.write_result(result, dims)
    except WireError as error:
        raise Internal(
            f"what answers {method.python_name}() gave what the schema does not allow: {error}"
        ) from None


async def _read(rpc: Rpc, requests: AsyncIterable[Message]) -> AsyncIterator[object]:
    async for request in requests:
        yield _method(rpc).read_message(request)


async def _awaited(result: object) -> object:
    return await result if inspect.isawaitable(result) else result


async def _each(results: object, deadline: float | None) -> AsyncIterator[object]:
    iterator = _iterated(results)
    while True:
        async with _until(deadline):
            found = await anext(iterator, _END)
        if found is _END:
            return
        yield found


async def _iterated(results: Any) -> AsyncIterator[object]:
    if isinstance(results, AsyncIterable):
        async for result in results:
            yield result
    else:
        for result in results:
            yield result


def _deadline(options: CallOptions) -> float | None:
    if options.timeout is None:
        return None
    return asyncio.get_running_loop().time() + options.timeout


@asynccontextmanager
async def _until(deadline: float | None) -> AsyncIterator[None]:
    """Raise ``DeadlineExceeded`` in what is within, when the time has come."""
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():  # it is the function's own
            raise
        raise DeadlineExceeded("deadline exceeded") from None
