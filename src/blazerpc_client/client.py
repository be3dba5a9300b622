"""The base class of every generated client, and the dynamic client that needs none."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

from google.protobuf.message import Message

from blazerpc_client.channel import Channel
from blazerpc_client.errors import (
    InvalidArgument,
    NotFound,
    arguments_checked,
    response_checked,
)
from blazerpc_client.options import CallOptions, ChannelOptions, Metadata
from blazerpc_client.reflection import fetch_schema
from blazerpc_client.schema import (
    BidirectionalMethod,
    ClientStreamMethod,
    Method,
    Schema,
    StreamMethod,
    UnaryMethod,
)
from blazerpc_client.specs import MethodSpec, models_of, signature
from blazerpc_client.targets import HostPort
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.verify import Verification, Verify
from blazerpc_client.wire.tensors import Dims

T = TypeVar("T")
Request = TypeVar("Request")


class _Connected:
    """A channel, the options of its calls, and the two ways to make one."""

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        timeout: float | None,
        metadata: Metadata | None,
        wait_for_ready: bool,
        http: Http | None,
        limits: Limits,
        **reach: Unpack[ChannelOptions],
    ) -> None:
        self._channel = Channel(target, http=http, limits=limits, **reach)
        self._options = CallOptions(
            timeout=timeout, metadata=metadata or {}, wait_for_ready=wait_for_ready
        )
        self._verification = Verification("off")

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
        other._options = CallOptions(
            timeout=self._options.timeout if timeout is None else timeout,
            metadata={**self._options.metadata, **(metadata or {})},
            wait_for_ready=(
                self._options.wait_for_ready if wait_for_ready is None else wait_for_ready
            ),
        )
        return other

    async def close(self) -> None:
        """Close the connection; calls in flight fail with ``Unavailable``."""
        self._channel.close()
        # A transport closes its socket one turn of the loop after it was told to.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _unary(
        self, method: UnaryMethod[T], arguments: dict[str, object], message: object = None
    ) -> T:
        dims: Dims = {}
        request = _request(method, arguments, dims, message)
        await self._verification.check(self._channel, method.schema, self._options)
        response = await self._channel.unary(method, request, self._options)
        return method.decode(response, dims)

    def _stream(
        self, method: StreamMethod[T], arguments: dict[str, object], message: object = None
    ) -> AsyncIterator[T]:
        # Arguments are checked here and now, not when the iterator is first asked for an item.
        dims: Dims = {}
        return self._results(method, _request(method, arguments, dims, message), dims)

    async def _results(
        self, method: StreamMethod[T], request: Message, dims: Dims
    ) -> AsyncIterator[T]:
        await self._verification.check(self._channel, method.schema, self._options)
        async for response in self._channel.server_stream(method, request, self._options):
            # A size that only results have may differ from one item to the next.
            yield method.decode(response, dict(dims))

    async def _client_stream(
        self, method: ClientStreamMethod[Request, T], requests: AsyncIterable[Request]
    ) -> T:
        await self._verification.check(self._channel, method.schema, self._options)
        messages = method.encode_all(requests)
        response = await self._channel.client_stream(method, messages, self._options)
        return method.decode(response, {})

    async def _bidirectional(
        self, method: BidirectionalMethod[Request, T], requests: AsyncIterable[Request]
    ) -> AsyncIterator[T]:
        await self._verification.check(self._channel, method.schema, self._options)
        messages = method.encode_all(requests)
        async for response in self._channel.bidirectional(method, messages, self._options):
            yield method.decode(response, {})


def _request(
    method: Method[T], arguments: dict[str, object], dims: Dims, message: object
) -> Message:
    """Return the request of these fields, or that ``message`` is."""
    if message is None:
        return method.encode(arguments, dims)
    for name, value in arguments.items():
        if value is not None:
            raise InvalidArgument(f"{name}: given beside a request that is whole", field=name)
    return method.encode_message(message)


class ServiceClient(_Connected):
    """Base of generated clients.

    Args:
        target: the server's ``HOST:PORT``, or another form of ``parse_target``; several servers
            take turns.
        timeout: seconds each call may take; None sets no deadline.
        metadata: sent with every call.
        wait_for_ready: whether a call waits for a server that cannot be reached, until its timeout;
            else it fails at once.
        verify: whether the first call compares the server's schema, read by reflection, with the
            one that the client was made from: ``"warn"`` and ``"error"`` say what to do when calls
            would fail.
        http: ``"blaze"`` for this package's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what the server may ask of this package's HTTP/2.
        reach: ``backoff``, ``health``, ``retry``, ``tls``, ``credentials`` and
            ``allow_insecure_credentials``, as for ``Channel``.

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
        super().__init__(
            target,
            timeout=timeout,
            metadata=metadata,
            wait_for_ready=wait_for_ready,
            http=http,
            limits=limits,
            **reach,
        )
        self._verification = Verification(verify)


class BlazeClient(_Connected):
    """A client that learns the schema from the server, for notebooks and tools.

    Args:
        host: of the server.
        port: of the server.
        target: in place of host and port, as for ``ServiceClient``.
        wait_for_ready: likewise.
        schema: of the server, when it is known; else it is read by reflection at the first call.
        http: likewise.
        limits: likewise.
        reach: likewise.

    A model is named as on the server; ``"digits:2"`` is its version 2.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 50051,
        *,
        target: str | Sequence[str] | None = None,
        wait_for_ready: bool = False,
        schema: Schema | None = None,
        http: Http | None = None,
        limits: Limits = DEFAULT,
        **reach: Unpack[ChannelOptions],
    ) -> None:
        super().__init__(
            str(HostPort(host, port)) if target is None else target,
            timeout=None,
            metadata=None,
            wait_for_ready=wait_for_ready,
            http=http,
            limits=limits,
            **reach,
        )
        self._methods: dict[str, Method[object]] = {}
        self._specs: list[MethodSpec] = []
        if schema is not None:
            with arguments_checked():
                self._learn(schema)

    async def predict(self, model: str, /, **arguments: object) -> object:
        """Call a model that gives one result, and return it.

        Raises:
            NotFound: when the server has no such model, before anything is sent to it.
            InvalidArgument: when an argument is not what the model takes, likewise.
            RpcError: by the status of the call.
        """
        method = await self._method(model)
        if not isinstance(method, UnaryMethod):
            raise NotFound(f"model {model!r} gives a stream of results: call stream()")
        return await self._unary(method, arguments)

    async def stream(self, model: str, /, **arguments: object) -> AsyncIterator[object]:
        """Call a model that gives a stream of results, and yield them.

        Raises:
            NotFound: when the server has no such model, before anything is sent to it.
            InvalidArgument: when an argument is not what the model takes, likewise.
            RpcError: by the status of the call.
        """
        method = await self._method(model)
        if not isinstance(method, StreamMethod):
            raise NotFound(f"model {model!r} gives one result: call predict()")
        async for result in self._stream(method, arguments):
            yield result

    async def models(self) -> list[str]:
        """Return the signature of every model: ``digits(x: float32 (batch, 64)) -> ...``.

        Raises:
            RpcError: when the schema is read from the server, and cannot be.
        """
        await self._learned()
        return [signature(spec) for spec in self._specs]

    async def _learned(self) -> None:
        if not self._methods:
            await self._channel.reachable(self._options)
            with response_checked():
                self._learn(await fetch_schema(self._channel, options=self._options))

    async def _method(self, model: str) -> Method[object]:
        await self._learned()
        method = self._methods.get(model) or self._methods.get(f"{model}:1")
        if method is None:
            has = ", ".join(self._methods) or "none, it is not a BlazeRPC server"
            raise NotFound(f"no model {model!r}; the server has: {has}")
        return method

    def _learn(self, schema: Schema) -> None:
        for name, spec in models_of(schema).items():
            method: type[Method[object]] = StreamMethod if spec.streaming else UnaryMethod
            self._methods[name] = method(schema, spec.full_name)
            self._specs.append(spec)
