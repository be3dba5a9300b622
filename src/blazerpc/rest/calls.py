"""A call that came over HTTP: served by the same handlers, behind the same middleware."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline, _Metadata, decode_metadata, decode_timeout
from grpclib.protocol import Peer
from multidict import MultiDict
from starlette.requests import ClientDisconnect, Request

from blazerpc.runtime.errors import invalid_argument
from blazerpc.server.calls import current_call
from blazerpc.server.listener import Listener
from blazerpc_client.metadata import PUSHBACK
from blazerpc_client.transport.limits import Limits

T = TypeVar("T")

log: logging.Logger = logging.getLogger("blazerpc.http")

#: Seconds that a request's body has to come.
_BODY: Final = 60.0

#: gRPC's TimeoutValue and TimeoutUnit.
#: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_TIMEOUT: Final = re.compile(r"[0-9]{1,8}[HMSmun]")

#: Headers that are about the HTTP message and not the call.
_NOT_METADATA: Final = frozenset(
    {"connection", "content-length", "content-type", "host", "te", "transfer-encoding", "expect"}
)

#: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
HTTP_STATUS: Final[Mapping[Status, int]] = {
    Status.OK: 200,
    Status.CANCELLED: 499,
    Status.UNKNOWN: 500,
    Status.INVALID_ARGUMENT: 400,
    Status.DEADLINE_EXCEEDED: 504,
    Status.NOT_FOUND: 404,
    Status.ALREADY_EXISTS: 409,
    Status.PERMISSION_DENIED: 403,
    Status.RESOURCE_EXHAUSTED: 429,
    Status.FAILED_PRECONDITION: 400,
    Status.ABORTED: 409,
    Status.OUT_OF_RANGE: 400,
    Status.UNIMPLEMENTED: 501,
    Status.INTERNAL: 500,
    Status.UNAVAILABLE: 503,
    Status.DATA_LOSS: 500,
    Status.UNAUTHENTICATED: 401,
}


class _Transport:
    """What grpclib asks of a connection to tell of its peer."""

    def __init__(self, address: tuple[str, int] | None) -> None:
        self._address = address

    def get_extra_info(self, name: str) -> object:
        return self._address if name == "peername" else None


class HttpCall:
    """A call whose request is the body of an HTTP request, and whose answers are taken from here.

    It has what a handler and the middleware use of grpclib's ``Stream``.

    Args:
        listener: whose middleware sees it.
        path: of the rpc.
        function: that serves it.
        request: of HTTP.
        parse: makes the rpc's request of the body, or raises ``GRPCError``.
        limits: of the body, and of each answer as the rpc has it.

    Attributes:
        too_large: whether it was refused for the size of its body.
    """

    metadata: _Metadata

    def __init__(
        self,
        listener: Listener,
        path: str,
        function: Callable[[Any], Awaitable[None]],
        request: Request,
        parse: Callable[[bytes], Any],
        limits: Limits,
    ) -> None:
        self._listener = listener
        self._path = path
        self._function = function
        self._http = request
        self._parse = parse
        self._limits = limits
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue(1)
        self._protocol_trailers: dict[str, str] = {}
        self._read = False
        self._begun = False
        self._ended = False
        self.left: bool = False
        self.too_large: bool = False
        self.body_read: asyncio.Event = asyncio.Event()
        self.status: Status = Status.OK
        self.message: str | None = None
        self.peer: Peer = Peer(cast(Any, _Transport(request.client)))
        self.deadline: Deadline | None = None

    @property
    def retry_after(self) -> float | None:
        """Seconds after which a call that was refused may be made again, None if not said."""
        pushback = self._protocol_trailers.get(PUSHBACK)
        return None if pushback is None else int(pushback) / 1000

    async def answers(self) -> AsyncIterator[Message]:
        """Yield what the handler answers, as it comes; ``status`` is known at the end."""
        while (answer := await self._answers.get()) is not None:
            yield answer

    async def recv_message(self) -> Any:
        """Return the request, None when it has been returned."""
        if self._read:
            return None
        self._read = True
        body = await self._body()
        self.body_read.set()
        if (call := current_call()) is not None:
            call.received += len(body)
        (message,) = await self._listener.__dispatch__.recv_message(self._parse(body))
        return message

    def add_protocol_trailer(self, name: str, value: str) -> None:
        """Note what would be a trailer of gRPC's own."""
        self._protocol_trailers[name] = value

    async def send_initial_metadata(self, *, metadata: Any = None) -> None:
        """Do nothing: the headers of HTTP go out with the first answer."""

    async def send_message(self, message: Any) -> None:
        """Hand an answer over, and wait while one before it has not been taken."""
        (message,) = await self._listener.__dispatch__.send_message(message)
        size, most = message.ByteSize(), self._limits.max_send_message
        if size > most:
            text = f"a message of {size} bytes is to be sent, {most} are allowed"
            raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
        if (call := current_call()) is not None:
            call.sent += size
        await self._answers.put(message)

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: Any = None,
    ) -> None:
        """End the call."""
        if self._ended:
            return
        self._ended = True
        self.status, self.message = status, status_message
        try:
            if self._begun:
                await self._tell_end(status, status_message, status_details, metadata)
        finally:
            if not self.left:
                await self._answers.put(None)

    async def _tell_end(
        self, status: Status, status_message: str | None, status_details: Any, metadata: Any
    ) -> None:
        await self._listener.__dispatch__.send_trailing_metadata(
            cast(Any, MultiDict(metadata or ())),
            status=status,
            status_message=status_message,
            status_details=status_details,
        )

    async def serve(self) -> None:
        """Run the handler, in a task of the call's own; answer whatever it raises."""
        try:
            self.deadline = _deadline(self._http.headers.get("grpc-timeout"))
            remaining = None if self.deadline is None else self.deadline.time_remaining()
            async with asyncio.timeout(remaining):
                await self._handle()
        except GRPCError as error:
            await self._fail(error.status, error.message)
        except TimeoutError:
            await self._fail(Status.DEADLINE_EXCEEDED, "deadline exceeded")
        except asyncio.CancelledError:
            if self.left:
                await self._fail(Status.CANCELLED, "the client has gone away")
            else:
                await self._fail(Status.UNAVAILABLE, "the server is stopping")
        except ClientDisconnect:
            await self._fail(Status.CANCELLED, "the client has gone away")
        except Exception:
            log.exception("Application error")
            await self._fail(Status.UNKNOWN, "Internal Server Error")
        else:
            await self.send_trailing_metadata()

    async def _handle(self) -> None:
        metadata = _metadata(self._http)
        self._begun = True
        self.metadata, function = await self._listener.__dispatch__.recv_request(
            metadata,
            self._function,
            method_name=self._path,
            deadline=self.deadline,
            content_type=self._http.headers.get("content-type", ""),
            user_agent=self._http.headers.get("user-agent"),
            peer=self.peer,
        )
        await function(self)

    async def _fail(self, status: Status, message: str | None) -> None:
        await self.send_trailing_metadata(status=status, status_message=message)

    async def _body(self) -> bytes:
        if self._http.headers.get("content-encoding", "identity") != "identity":
            raise GRPCError(Status.UNIMPLEMENTED, "requests cannot be compressed")
        body, most = bytearray(), self._limits.max_receive_message
        try:
            async with asyncio.timeout(_BODY):
                async for piece in self._http.stream():
                    body += piece
                    if len(body) > most:
                        self.too_large = True
                        text = f"a request of more than {most} bytes"
                        raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
        except TimeoutError:
            text = f"the body did not come within {_BODY:g} seconds"
            raise GRPCError(Status.DEADLINE_EXCEEDED, text) from None
        return bytes(body)


@asynccontextmanager
async def served(call: HttpCall, running: set[asyncio.Task[None]]) -> AsyncIterator[None]:
    """Serve a call in a task of its own, and cancel that at the end of the block.

    Args:
        call: that is served.
        running: has the task meanwhile.
    """
    task = asyncio.create_task(call.serve())
    running.add(task)
    try:
        yield
    finally:
        call.left = True
        task.cancel()
        await asyncio.wait([task])
        running.discard(task)


async def unless_gone(call: HttpCall, request: Request, work: Awaitable[T]) -> T:
    """Return what ``work`` gives; give up when the client goes away meanwhile.

    Raises:
        ClientDisconnect: when it has gone away.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.create_task(_gone(call, request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


async def _gone(call: HttpCall, request: Request) -> None:
    await call.body_read.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _metadata(request: Request) -> Any:
    """Return the headers of a request as a call has them.

    Raises:
        GRPCError: INVALID_ARGUMENT, for a binary one that is no base64.
    """
    headers = [(key, value) for key, value in request.headers.items() if key not in _NOT_METADATA]
    try:
        return decode_metadata(headers)
    except ValueError:
        raise invalid_argument("a header that ends in -bin is not base64", None) from None


def _deadline(text: str | None) -> Deadline | None:
    """Return when a call has to end that has such a ``grpc-timeout``.

    Raises:
        GRPCError: INVALID_ARGUMENT, when it is none.
    """
    if text is None:
        return None
    if not _TIMEOUT.fullmatch(text):
        raise invalid_argument("grpc-timeout has the form of 500m or 10S", None)
    return Deadline.from_timeout(decode_timeout(text))
