"""The connection of a client: address, metadata, deadline, and the four call shapes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Protocol, TypeVar, cast

import grpclib.client
from google.protobuf.message import Message
from grpclib.const import Cardinality, Status
from grpclib.metadata import Deadline
from multidict import MultiDict

from blazerpc_client.errors import (
    AnsweredError,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    RpcError,
    translated,
)
from blazerpc_client.metadata import (
    ReceivedMetadata,
    Recorder,
    check_metadata,
    current_recorder,
    received,
    redacted,
)

S = TypeVar("S", bound=Message)
R = TypeVar("R", bound=Message)

Metadata = Mapping[str, str | bytes]

# A grpc-timeout has eight digits at most, and seconds are the largest unit in use here.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_MAX_TIMEOUT: Final = 99_999_999


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


class _GrpclibStream(grpclib.client.Stream[S, R]):
    """A call that ends when its answer does.

    grpclib waits for a status that an answer ended without, until the deadline if there is one. It
    gives up a whole answer when the server then resets the stream, as RFC 9113, section 8.1, has a
    server do that does not want the rest of the requests. And its own server leaves the
    content-type out when it has no such method, which its client takes for an answer of something
    that is not gRPC.

    Attributes:
        recorder: is told of the metadata, when the call has ended well.
    """

    recorder: Recorder | None = None

    async def send_request(self, *, end: bool = False) -> None:
        await super().send_request(end=end)
        stream = self._stream
        take_end, take_reset = stream.__ended__, stream.__terminated__

        def ended() -> None:
            take_end()
            content_type = dict(stream.headers or ()).get("content-type", "")
            if content_type.startswith("application/grpc"):
                stream.__terminated__("the answer ended without a status")

        def terminated(reason: str) -> None:
            if stream.trailers is None and "grpc-status" not in dict(stream.headers or ()):
                take_reset(reason)

        stream.__ended__ = ended  # type: ignore[method-assign]  # grpclib has no hook for it
        stream.__terminated__ = terminated  # type: ignore[method-assign]  # likewise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(exc_type, exc_value, traceback)
        if self.recorder is not None and exc_value is None:
            self.recorder.initial, self.recorder.trailing = self._received()

    def abort(self) -> None:
        """Fail whatever waits for the answer."""
        self._stream.__terminated__("no more requests")

    def stop_sending(self) -> None:
        """Leave out what has not been sent; the server has answered without it."""
        self._end_done = True

    def _raise_for_content_type(self, headers_map: dict[str, str]) -> None:
        if "grpc-status" not in headers_map:
            super()._raise_for_content_type(headers_map)

    def _raise_for_grpc_status(self, status: Status, message: str | None, details: object) -> None:
        if status is not Status.OK:
            raise AnsweredError(status, message, details, self._received()[1])

    def _received(self) -> tuple[ReceivedMetadata, ReceivedMetadata]:
        """Return the initial and the trailing metadata.

        They are read here, as grpclib leaves out all that begins with ``grpc-``.
        """
        headers, trailers = self._stream.headers or (), self._stream.trailers or ()
        if "grpc-status" in dict(headers):  # an answer of one header block, which is its trailers
            headers, trailers = (), headers
        return received(headers), received(trailers)


class _Sender:
    """Sends the requests of a call while its answers are received."""

    def __init__(self, requests: AsyncIterable[Message]) -> None:
        self._requests = requests
        self._task: asyncio.Task[None] | None = None

    def start(self, stream: _GrpclibStream[Any, Any]) -> None:
        self._task = asyncio.create_task(self._send(stream))

    def failure(self) -> BaseException | None:
        """Return what the iterable of requests raised."""
        task = self._task
        return task.exception() if task and task.done() and not task.cancelled() else None

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send(self, stream: _GrpclibStream[Any, Any]) -> None:
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


class _GrpclibChannel(grpclib.client.Channel):
    """grpclib's channel, making such calls."""

    @property
    def connection(self) -> object | None:
        """The connection that is open, None when there is none."""
        return self._protocol if self._connected else None

    def call(
        self,
        path: str,
        cardinality: Cardinality,
        request_class: type[S],
        response_class: type[R],
        options: CallOptions,
    ) -> _GrpclibStream[S, R]:
        timeout = options.timeout
        return _GrpclibStream(
            self,
            path,
            cast(Any, MultiDict(options.metadata)),
            cardinality,
            request_class,
            response_class,
            codec=self._codec,
            status_details_codec=self._status_details_codec,
            dispatch=self.__dispatch__,
            deadline=None if timeout is None else Deadline.from_timeout(timeout),
        )


class Channel:
    """A connection to one server, made at the first call and again after it was lost.

    Args:
        target: ``HOST:PORT``.

    Attributes:
        target: likewise.
        observer: surrounds every call, but for those that read the schema.

    Raises:
        InvalidArgument: for a target of another form.
    """

    def __init__(self, target: str) -> None:
        self._host, self._port = parse_target(target)
        self.target = target
        self.observer: CallObserver | None = None
        self._channel: _GrpclibChannel | None = None
        self._closed = False

    @property
    def connection(self) -> object | None:
        """What stands for the connection that is open, None when there is none."""
        return None if self._channel is None else self._channel.connection

    async def unary(self, rpc: Rpc, request: Message, options: CallOptions) -> Message:
        """Send one message, return the one answer.

        Raises:
            RpcError: by the status of the call.
        """
        with self._observed(rpc, options) as options, translated(self.target):
            async with self._call(rpc, Cardinality.UNARY_UNARY, options) as stream:
                await stream.send_message(request, end=True)
                response = await stream.recv_message()
            if response is None:
                raise Internal(f"{self.target} answered {rpc.path} without a message")
            return response

    async def server_stream(
        self, rpc: Rpc, request: Message, options: CallOptions
    ) -> AsyncIterator[Message]:
        """Send one message, yield the answers as they come.

        Raises:
            RpcError: by the status of the call; answers before it were yielded.
        """
        with self._observed(rpc, options) as options, translated(self.target):
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
            with self._observed(rpc, options) as options, translated(self.target):
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
    ) -> _GrpclibStream[S, R]:
        """Return a call that has not been sent yet; its errors are grpclib's own.

        Raises:
            FailedPrecondition: when the channel is closed.
        """
        if self._closed:
            raise FailedPrecondition("the client is closed")
        # grpclib binds its channel to the running loop, so it is made here and not in __init__.
        if self._channel is None:
            self._channel = _GrpclibChannel(self._host, self._port)
        return self._channel.call(path, cardinality, request_class, response_class, options)

    def _observed(self, rpc: Rpc, options: CallOptions) -> AbstractContextManager[CallOptions]:
        if self.observer is None:
            return nullcontext(options)
        return self.observer.call(rpc.path, self.target, options)

    def _call(
        self, rpc: Rpc, cardinality: Cardinality, options: CallOptions
    ) -> _GrpclibStream[Message, Message]:
        stream = self.open(rpc.path, cardinality, rpc.request_class, rpc.response_class, options)
        stream.recorder = current_recorder.get()
        return stream

    def close(self) -> None:
        """Close the connection; calls in flight fail, and so does every one from now on."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()
            self._channel = None
