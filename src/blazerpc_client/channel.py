"""The connection of a client: address, metadata, deadline, and the four call shapes."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, aclosing, nullcontext, suppress
from dataclasses import dataclass, field
from types import NoneType
from typing import Final, Protocol, TypedDict, TypeVar

from google.protobuf.message import Message
from grpclib.const import Cardinality
from grpclib.metadata import Deadline

from blazerpc_client.backoff import Backoff
from blazerpc_client.balancing import Pool
from blazerpc_client.call import SECOND_ANSWER, ClientCall
from blazerpc_client.credentials import Credentials, call_credentials
from blazerpc_client.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    RpcError,
    translated,
)
from blazerpc_client.metadata import check_metadata, current_recorder, redacted
from blazerpc_client.pooled_channel import AnyChannel, Transport, channel_over, open_pool
from blazerpc_client.retry import TRANSPARENT, Attempts, Retries, RetryPolicy, ServiceConfig
from blazerpc_client.sending import Sender
from blazerpc_client.targets import parse_target
from blazerpc_client.tls import TLS, client_security
from blazerpc_client.transport.choice import Http, chosen_http
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.stream import UnprocessedError

S = TypeVar("S", bound=Message)
R = TypeVar("R", bound=Message)

Metadata = Mapping[str, str | bytes]

# A grpc-timeout has eight digits at most, and seconds are the largest unit in use here.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_MAX_TIMEOUT: Final = 99_999_999

_BACKOFF: Final = Backoff()
_UNARY: Final = Cardinality.UNARY_UNARY
_STREAM: Final = Cardinality.UNARY_STREAM


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
        wait_for_ready: whether the call waits for a server that cannot be reached, until its time
            is over; else it fails at once.

    Raises:
        InvalidArgument: for a timeout or metadata that gRPC cannot carry.
    """

    timeout: float | None = None
    metadata: Metadata = field(default_factory=dict)
    wait_for_ready: bool = False

    def __post_init__(self) -> None:
        timeout: object = self.timeout
        if timeout is not None and not isinstance(timeout, int | float):
            raise InvalidArgument(f"timeout: {timeout!r} is no number", field="timeout")
        if timeout is not None and not 0 <= timeout <= _MAX_TIMEOUT:
            raise InvalidArgument(f"timeout: {timeout} is out of range", field="timeout")
        _check_kinds(("wait_for_ready", self.wait_for_ready, bool, "True or False"))
        try:
            check_metadata(self.metadata)
        except ValueError as error:
            raise InvalidArgument(f"metadata: {error}", field="metadata") from None

    def __repr__(self) -> str:
        waits = ", wait_for_ready=True" if self.wait_for_ready else ""
        return f"CallOptions(timeout={self.timeout!r}, metadata={redacted(self.metadata)}{waits})"


class CallObserver(Protocol):
    """Surrounds every call of a channel."""

    def call(
        self, path: str, target: str, options: CallOptions
    ) -> AbstractContextManager[CallOptions]:
        """Surround a call, which fails with an ``RpcError``; give the options it is made with."""


class ChannelOptions(TypedDict, total=False):
    """How a client reaches its servers; as the arguments of ``Channel``."""

    backoff: Backoff
    health: bool | str
    retry: RetryPolicy | ServiceConfig | None
    tls: TLS
    credentials: Credentials | None
    allow_insecure_credentials: bool


class Channel:
    """The connections to the servers of a target, made at the first call and again when lost.

    Args:
        target: as for ``parse_target``: one address or several, whose servers take turns.
        http: ``"blaze"`` for this package's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what the server may ask of this package's HTTP/2.
        backoff: between attempts to connect that fail.
        health: whether only servers get calls whose health service says that they serve: True asks
            for the server as a whole, a text for the service of that name.
        retry: when a call that failed is made again; None does so only when no server has begun it.
        tls: how the connections are encrypted: True trusts the system's authorities, ``ClientTLS``
            or a context says more; None for plaintext.
        credentials: metadata that is sent with each call, or a function that is asked for it each
            time; the metadata of a call goes over it.
        allow_insecure_credentials: whether they are sent without TLS, too, where anybody can read
            them.

    Attributes:
        target: as text.
        observer: surrounds every call, but for those that read the schema.

    Raises:
        InvalidArgument: for a target or ``http`` of another form, ``tls`` that cannot be used, or
            credentials that may not be sent.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        http: Http | None = None,
        limits: Limits = DEFAULT,
        backoff: Backoff = _BACKOFF,
        health: bool | str = False,
        retry: RetryPolicy | ServiceConfig | None = None,
        tls: TLS = None,
        credentials: Credentials | None = None,
        allow_insecure_credentials: bool = False,
    ) -> None:
        _check_kinds(
            ("limits", limits, Limits, "Limits"),
            ("backoff", backoff, Backoff, "a Backoff"),
            ("health", health, (bool, str), "True, False or the name of a service"),
            ("retry", retry, (RetryPolicy, ServiceConfig, NoneType), "a RetryPolicy"),
        )
        self._target = parse_target(target)
        self.target: str = str(self._target)
        self.observer: CallObserver | None = None
        try:
            chosen = chosen_http(http)
        except ValueError as error:
            raise InvalidArgument(str(error), field="http") from None
        security = client_security(tls)
        self._transport = Transport(
            http=chosen,
            limits=limits,
            security=security,
            credentials=call_credentials(
                credentials,
                secure=security is not None,
                allow_insecure=allow_insecure_credentials,
            ),
        )
        self._backoff = backoff
        self._health = ("" if health else None) if isinstance(health, bool) else health
        self._retries = None if retry is None else Retries(retry)
        self._translated = translated(self.target)
        self._pool: Pool | None = None
        self._channel: AnyChannel | None = None
        self._closed = False

    @property
    def connections(self) -> Sequence[object]:
        """What stands for the connections that are open; calls take turns among them."""
        return () if self._pool is None else self._pool.open

    async def unary(self, rpc: Rpc, request: Message, options: CallOptions) -> Message:
        """Send one message, return the one answer.

        Raises:
            RpcError: by the status of the call.
        """
        if self._retries is not None or options.wait_for_ready:
            return await self._only(rpc, self._answers(rpc, _UNARY, request, options))
        with self._observed(rpc, options) as options, self._translated:
            response = await self._unary(rpc, request, options)
            if response is None:
                raise Internal(f"{self.target} answered {rpc.path} without a message")
            return response

    async def _unary(self, rpc: Rpc, request: Message, options: CallOptions) -> Message | None:
        """Return the answer of a call, sent again as long as its server did nothing of it."""
        deadline = _deadline(options)
        for _ in range(TRANSPARENT):
            with suppress(UnprocessedError):
                return await self._unary_once(rpc, request, options, deadline)
        return await self._unary_once(rpc, request, options, deadline)

    async def _unary_once(
        self, rpc: Rpc, request: Message, options: CallOptions, deadline: Deadline | None
    ) -> Message | None:
        call = self._call(rpc, Cardinality.UNARY_UNARY, options, deadline)
        return await call.unary(request)

    def server_stream(
        self, rpc: Rpc, request: Message, options: CallOptions
    ) -> AsyncIterator[Message]:
        """Send one message, yield the answers as they come.

        Raises:
            RpcError: by the status of the call; answers before it were yielded.
        """
        return self._answers(rpc, _STREAM, request, options)

    async def _answers(
        self, rpc: Rpc, cardinality: Cardinality, request: Message, options: CallOptions
    ) -> AsyncGenerator[Message, None]:
        """Yield the answers of a call of one request, made again as long as that is safe."""
        attempts = Attempts() if self._retries is None else self._retries.of(rpc.path)
        with self._observed(rpc, options) as options:
            deadline = _deadline(options)
            while True:
                await self.reachable(options, deadline)
                call = self._call(rpc, cardinality, options, deadline)
                call.previous_attempts = attempts.failed
                try:
                    with self._translated:
                        async with call as stream:
                            await stream.send_message(request, end=True)
                            async for response in stream:
                                yield response
                    attempts.succeeded()
                    return
                except RpcError as error:
                    if isinstance(error.__cause__, UnprocessedError) and attempts.unprocessed():
                        continue
                    wait = attempts.wait_after(error, answered=call.answered)
                    if wait is None or (deadline is not None and wait >= deadline.time_remaining()):
                        raise
                await asyncio.sleep(wait)

    async def _only(self, rpc: Rpc, answers: AsyncGenerator[Message, None]) -> Message:
        """Return the one answer; of a server that sends more, no more than two are taken."""
        found: Message | None = None
        async with aclosing(answers):
            async for answer in answers:
                if found is not None:
                    raise Internal(f"{self.target} broke the protocol: {SECOND_ANSWER}")
                found = answer
        if found is None:
            raise Internal(f"{self.target} answered {rpc.path} without a message")
        return found

    async def reachable(self, options: CallOptions, deadline: Deadline | None = None) -> None:
        """Wait until a call can be sent, if it is one that waits.

        A ``deadline`` takes the place of the options' timeout.

        Raises:
            DeadlineExceeded: saying why there was no server.
            Unavailable: when the channel is closed meanwhile.
        """
        if not options.wait_for_ready:
            return
        deadline = deadline or _deadline(options)
        self._opened()
        pool = self._pool
        assert pool is not None
        try:
            async with asyncio.timeout(None if deadline is None else deadline.time_remaining()):
                await pool.ready()
        except TimeoutError:
            raise DeadlineExceeded(f"deadline exceeded: {pool.failure()}") from None

    async def client_stream(
        self, rpc: Rpc, requests: AsyncIterable[Message], options: CallOptions
    ) -> Message:
        """Send messages, return the one answer.

        Raises:
            RpcError: by the status of the call. What ``requests`` raises ends the call.
        """
        return await self._only(rpc, self.bidirectional(rpc, requests, options))

    async def bidirectional(
        self, rpc: Rpc, requests: AsyncIterable[Message], options: CallOptions
    ) -> AsyncGenerator[Message, None]:
        """Send messages, and yield the answers as they come.

        Raises:
            RpcError: by the status of the call. What ``requests`` raises ends the call.
        """
        sender = Sender(requests)
        try:
            with self._observed(rpc, options) as options, self._translated:
                deadline = _deadline(options)
                await self.reachable(options, deadline)
                stream = self._call(rpc, Cardinality.STREAM_STREAM, options, deadline)
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
        return self._opened().request(
            path,
            cardinality,
            request_class,
            response_class,
            timeout=options.timeout if deadline is None else None,
            deadline=deadline,
            metadata=options.metadata,
        )

    def _opened(self) -> AnyChannel:
        if self._closed:
            raise FailedPrecondition("the client is closed")
        # grpclib binds its channel to the running loop, so it is made here and not in __init__.
        if self._channel is None:
            self._pool = open_pool(
                self._target, self._transport, backoff=self._backoff, health=self._health
            )
            self._channel = channel_over(self._pool, self._target, self._transport)
        return self._channel

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


def _check_kinds(*options: tuple[str, object, type | tuple[type, ...], str]) -> None:
    """Check what not every caller has a type checker for."""
    for name, value, kinds, wanted in options:
        if not isinstance(value, kinds):
            raise InvalidArgument(f"{name}: {value!r} is not {wanted}", field=name)


def _deadline(options: CallOptions) -> Deadline | None:
    """Return when a call that begins now must have ended, whatever its attempts."""
    return None if options.timeout is None else Deadline.from_timeout(options.timeout)
