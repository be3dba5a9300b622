"""The connection of a client: address, metadata, deadline, and the four call shapes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from types import NoneType
from typing import Final, TypeVar

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
from blazerpc_client.metadata import current_recorder
from blazerpc_client.options import CallObserver, CallOptions, Rpc, check_kinds
from blazerpc_client.pooled_channel import AnyChannel, Transport, channel_over, open_pool
from blazerpc_client.retry import Attempts, Retries, Retry, RetryPolicy, ServiceConfig
from blazerpc_client.sending import Sender
from blazerpc_client.targets import parse_target
from blazerpc_client.tls import TLS, client_security
from blazerpc_client.transport.choice import Http, chosen_http
from blazerpc_client.transport.limits import DEFAULT, Limits

S = TypeVar("S", bound=Message)
R = TypeVar("R", bound=Message)

_BACKOFF: Final = Backoff()
_UNARY: Final = Cardinality.UNARY_UNARY
_STREAM: Final = Cardinality.UNARY_STREAM


class Channel:
    """The connections to the servers of a target, made at the first call and again when lost.

    Args:
        target: as for ``parse_target``: one address or several, whose servers take turns.
        http: ``"blaze"`` for this package's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what the server may ask of this package's HTTP/2.
        backoff: between attempts to connect that fail.
        health: whether only servers get calls whose health service says that they serve: True asks
            for the server as a whole, a text for the service of that name.
        retry: when a call that failed is made again: ``"idempotent"`` is a ``RetryPolicy()`` for
            what the schema calls so, and None does so only when no server has begun it.
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
        retry: Retry = "idempotent",
        tls: TLS = None,
        credentials: Credentials | None = None,
        allow_insecure_credentials: bool = False,
    ) -> None:
        check_kinds(
            ("limits", limits, Limits, "Limits"),
            ("backoff", backoff, Backoff, "a Backoff"),
            ("health", health, (bool, str), "True, False or the name of a service"),
            (
                "retry",
                None if retry == "idempotent" else retry,
                (RetryPolicy, ServiceConfig, NoneType),
                'a RetryPolicy or "idempotent"',
            ),
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
        self._retries = Retries(retry)
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
        with self._observed(rpc, options) as options:
            attempts, deadline = self._attempts(rpc), _deadline(options)
            while True:
                await self.reachable(options, deadline)
                call = self._call(rpc, _UNARY, options, deadline, attempts)
                try:
                    with self._translated:
                        response = await call.unary(request)
                except RpcError as error:
                    wait = attempts.wait_after(error, answered=call.answered, deadline=deadline)
                    if wait is None:
                        raise
                else:
                    attempts.succeeded()
                    if response is None:
                        raise Internal(f"{self.target} answered {rpc.path} without a message")
                    return response
                await asyncio.sleep(wait)

    async def server_stream(
        self, rpc: Rpc, request: Message, options: CallOptions
    ) -> AsyncGenerator[Message, None]:
        """Send one message, yield the answers as they come.

        Raises:
            RpcError: by the status of the call; answers before it were yielded.
        """
        with self._observed(rpc, options) as options:
            attempts, deadline = self._attempts(rpc), _deadline(options)
            while True:
                await self.reachable(options, deadline)
                call = self._call(rpc, _STREAM, options, deadline, attempts)
                try:
                    with self._translated:
                        async with call as stream:
                            await stream.send_message(request, end=True)
                            async for response in stream:
                                yield response
                    attempts.succeeded()
                    return
                except RpcError as error:
                    wait = attempts.wait_after(error, answered=call.answered, deadline=deadline)
                    if wait is None:
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

    def _attempts(self, rpc: Rpc) -> Attempts:
        return self._retries.of(rpc.path, idempotent=rpc.idempotent)

    def _call(
        self,
        rpc: Rpc,
        cardinality: Cardinality,
        options: CallOptions,
        deadline: Deadline | None,
        attempts: Attempts | None = None,
    ) -> ClientCall[Message, Message]:
        call = self.open(
            rpc.path, cardinality, rpc.request_class, rpc.response_class, options, deadline
        )
        call.recorder = current_recorder.get()
        if attempts is not None:
            call.previous_attempts = attempts.failed
        return call

    def close(self) -> None:
        """Close the connection; calls in flight fail, and so does every one from now on."""
        self._closed = True
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _deadline(options: CallOptions) -> Deadline | None:
    """Return when a call that begins now must have ended, whatever its attempts."""
    return None if options.timeout is None else Deadline.from_timeout(options.timeout)
