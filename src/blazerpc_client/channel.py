"""The connection of a client: address, metadata, deadline, and the four call shapes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from google.protobuf.message import Message
from grpclib.const import Cardinality
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.metadata import Deadline

from blazerpc_client.call import ClientCall
from blazerpc_client.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    RpcError,
    translated,
)
from blazerpc_client.grpclib_channel import GrpclibChannel
from blazerpc_client.metadata import check_metadata, current_recorder, redacted
from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.choice import Http, chosen_http
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.stream import UnprocessedError
from blazerpc_client.wire.codec import Codec

S = TypeVar("S", bound=Message)
R = TypeVar("R", bound=Message)

Metadata = Mapping[str, str | bytes]

# A grpc-timeout has eight digits at most, and seconds are the largest unit in use here.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_MAX_TIMEOUT: Final = 99_999_999

#: How often a call is sent again that its server has done nothing of: gRPC's transparent retry.
#: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
_RETRIES: Final = 2


class Rpc(Protocol):
    """What is called."""

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""

    @property
    def request_class(self) -> type[Message]:
        """The class of the requests."""

    @property
    def response_class(self) -> type[Message]:
        """The class of the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What applies to a call besides its arguments.

    Attributes:
        timeout: seconds the call may take, up to three years; None sets no deadline.
        metadata: sent with the call; a value is bytes when its key ends in ``-bin``, else str.

    Raises:
        InvalidArgument: for a timeout or metadata that gRPC cannot carry.
    """

    timeout: float | None = None
    metadata: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        timeout: object = self.timeout
        if timeout is not None and not isinstance(timeout, int | float):
            raise InvalidArgument(f"timeout: {timeout!r} is no number", field="timeout")
        if timeout is not None and not 0 <= timeout <= _MAX_TIMEOUT:
            raise InvalidArgument(f"timeout: {timeout} is out of range", field="timeout")
        try:
            check_metadata(self.metadata)
        except ValueError as error:
            raise InvalidArgument(f"metadata: {error}", field="metadata") from None

    def __repr__(self) -> str:
        return f"CallOptions(timeout={self.timeout!r}, metadata={redacted(self.metadata)})"


class CallObserver(Protocol):
    """Surrounds every call of a channel."""

    def call(
        self, path: str, target: str, options: CallOptions
    ) -> AbstractContextManager[CallOptions]:
        """Surround a call, which fails with an ``RpcError``; give the options it is made with."""


def parse_target(target: str) -> tuple[str, int]:
    """Split ``HOST:PORT``; an IPv6 address stands in brackets, as in ``[::1]:50051``.

    Raises:
        InvalidArgument: saying which form an address has.
    """
    host, colon, port = target.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not (
        colon
        and host
        and _is_host(host)
        and re.fullmatch("[0-9]{1,5}", port)
        and 0 < int(port) < 1 << 16
        and (bracketed or ":" not in host)
    ):
        raise InvalidArgument(
            f"{target!r} is no address; it has the form HOST:PORT", field="target"
        )
    return host, int(port)


def _is_host(host: str) -> bool:
    try:
        host.encode("idna")  # what the resolver does first
    except UnicodeError:
        return False
    return "\0" not in host


class _Sender:
    """Sends the requests of a call while its answers are received."""

    def __init__(self, requests: AsyncIterable[Message]) -> None:
        self._requests = requests
        self._task: asyncio.Task[None] | None = None

    def start(self, stream: ClientCall[Any, Any]) -> None:
        self._task = asyncio.create_task(self._send(stream))

    def failure(self) -> BaseException | None:
        """Return what the iterable of requests raised."""
        task = self._task
        return task.exception() if task and task.done() and not task.cancelled() else None

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send(self, stream: ClientCall[Any, Any]) -> None:
        # The calls that the iterable makes are not this one.
        current_recorder.set(None)
        try:
            async for request in self._requests:
                if not await self._sent(stream.send_message(request)):
                    return
        except BaseException:
            stream.abort()
            raise
        await self._sent(stream.end())

    @staticmethod
    async def _sent(sending: Coroutine[Any, Any, None]) -> bool:
        try:
            await sending
        except Exception:  # whatever became of the call, it is the answer that tells
            return False
        return True


class Channel:
    """A connection to one server, made at the first call and again after it was lost.

    Args:
        target: ``HOST:PORT``.
        http: ``"blaze"`` for this package's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what the server may ask of this package's HTTP/2.

    Attributes:
        target: likewise.
        observer: surrounds every call, but for those that read the schema.

    Raises:
        InvalidArgument: for a target or ``http`` of another form.
    """

    def __init__(self, target: str, *, http: Http | None = None, limits: Limits = DEFAULT) -> None:
        self._host, self._port = parse_target(target)
        self.target = target
        self.observer: CallObserver | None = None
        try:
            self._http = chosen_http(http)
        except ValueError as error:
            raise InvalidArgument(str(error), field="http") from None
        self._limits = limits
        self._translated = translated(target)
        self._channel: GrpclibChannel | TransportChannel | None = None
        self._closed = False

    @property
    def connection(self) -> object | None:
        """What stands for the connection that is open, None when there is none."""
        channel = self._channel
        return channel._protocol if channel is not None and channel._connected else None

    async def unary(self, rpc: Rpc, request: Message, options: CallOptions) -> Message:
        """Send one message, return the one answer.

        Raises:
            RpcError: by the status of the call.
        """
        with self._observed(rpc, options) as options, self._translated:
            response = await self._unary(rpc, request, options)
            if response is None:
                raise Internal(f"{self.target} answered {rpc.path} without a message")
            return response

    async def _unary(self, rpc: Rpc, request: Message, options: CallOptions) -> Message | None:
        """Return the answer of a call, sent again as long as its server did nothing of it."""
        deadline = None if options.timeout is None else Deadline.from_timeout(options.timeout)
        for _ in range(_RETRIES):
            with suppress(UnprocessedError):
                return await self._unary_once(rpc, request, options, deadline)
        return await self._unary_once(rpc, request, options, deadline)

    async def _unary_once(
        self, rpc: Rpc, request: Message, options: CallOptions, deadline: Deadline | None
    ) -> Message | None:
        call = self._call(rpc, Cardinality.UNARY_UNARY, options, deadline)
        return await call.unary(request)

    async def server_stream(
        self, rpc: Rpc, request: Message, options: CallOptions
    ) -> AsyncIterator[Message]:
        """Send one message, yield the answers as they come.

        Raises:
            RpcError: by the status of the call; answers before it were yielded.
        """
        with self._observed(rpc, options) as options, self._translated:
            async with self._call(rpc, Cardinality.UNARY_STREAM, options) as stream:
                await stream.send_message(request, end=True)
                async for response in stream:
                    yield response

    async def client_stream(
        self, rpc: Rpc, requests: AsyncIterable[Message], options: CallOptions
    ) -> Message:
        """Send messages, return the one answer.

        Raises:
            RpcError: by the status of the call. What ``requests`` raises ends the call.
        """
        responses = [answer async for answer in self.bidirectional(rpc, requests, options)]
        if len(responses) != 1:
            raise Internal(f"{self.target} answered {rpc.path} with {len(responses)} messages")
        return responses[0]

    async def bidirectional(
        self, rpc: Rpc, requests: AsyncIterable[Message], options: CallOptions
    ) -> AsyncIterator[Message]:
        """Send messages, and yield the answers as they come.

        Raises:
            RpcError: by the status of the call. What ``requests`` raises ends the call.
        """
        sender = _Sender(requests)
        try:
            with self._observed(rpc, options) as options, self._translated:
                stream = self._call(rpc, Cardinality.STREAM_STREAM, options)
                async with stream:
                    await stream.send_request()
                    sender.start(stream)
                    async for response in stream:
                        yield response
                    stream.stop_sending()
        except RpcError:
            failure = sender.failure()
            if failure is not None:
                raise failure from None
            raise
        finally:
            await sender.stop()

    def open(
        self,
        path: str,
        cardinality: Cardinality,
        request_class: type[S],
        response_class: type[R],
        options: CallOptions,
        deadline: Deadline | None = None,
    ) -> ClientCall[S, R]:
        """Return a call that has not been sent yet; its errors are grpclib's own.

        A ``deadline`` takes the place of the options' timeout.

        Raises:
            FailedPrecondition: when the channel is closed.
        """
        if self._closed:
            raise FailedPrecondition("the client is closed")
        # grpclib binds its channel to the running loop, so it is made here and not in __init__.
        if self._channel is None:
            self._channel = self._made()
        return self._channel.request(
            path,
            cardinality,
            request_class,
            response_class,
            timeout=options.timeout if deadline is None else None,
            deadline=deadline,
            metadata=options.metadata,
        )

    def _made(self) -> GrpclibChannel | TransportChannel:
        details = ProtoStatusDetailsCodec()
        if self._http == "h2":
            codec = Codec(in_pieces=False)
            return GrpclibChannel(self._host, self._port, codec=codec, status_details_codec=details)
        return TransportChannel(
            self._host,
            self._port,
            limits=self._limits,
            codec=Codec(in_pieces=True),
            status_details_codec=details,
        )

    def _observed(self, rpc: Rpc, options: CallOptions) -> AbstractContextManager[CallOptions]:
        if self.observer is None:
            return nullcontext(options)
        return self.observer.call(rpc.path, self.target, options)

    def _call(
        self,
        rpc: Rpc,
        cardinality: Cardinality,
        options: CallOptions,
        deadline: Deadline | None = None,
    ) -> ClientCall[Message, Message]:
        call = self.open(
            rpc.path, cardinality, rpc.request_class, rpc.response_class, options, deadline
        )
        call.recorder = current_recorder.get()
        return call

    def close(self) -> None:
        """Close the connection; calls in flight fail, and so does every one from now on."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()
            self._channel = None
