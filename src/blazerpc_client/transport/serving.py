"""grpclib's server on this package's streams: its handlers, events, deadlines and cancellation.

The way of a call is that of ``grpclib.server.request_handler``, with whole messages instead of
bytes and with header blocks that are encoded once.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast

import grpclib.const
import grpclib.protocol
import grpclib.server
from grpclib.const import Status
from grpclib.encoding.base import GRPC_CONTENT_TYPE, CodecBase, StatusDetailsCodecBase
from grpclib.events import _DispatchServerEvents
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.metadata import (
    Deadline,
    _Metadata,
    _MetadataLike,
    encode_grpc_message,
)
from grpclib.utils import Wrapper
from multidict import MultiDict

from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.headers import Fields, encode, encode_metadata
from blazerpc_client.transport.messages import (
    ACCEPTED,
    GZIP,
    IDENTITY,
    Compression,
    Outgoing,
    small_frame,
)
from blazerpc_client.transport.owner import StreamHandler
from blazerpc_client.transport.requests import Refusal, Request, read_request
from blazerpc_client.transport.stream import TransportStream, TruncatedMessageError

log: logging.Logger = logging.getLogger("grpclib.server")

R = TypeVar("R")
S = TypeVar("S")

#: Requests whose headers are remembered, for each connection.
_MAX_REQUESTS: Final = 64

_DETAILS: Final = "grpc-status-details-bin"

_OK: Final = encode((("grpc-status", "0"),))


class ServerCall(grpclib.server.Stream[R, S]):
    """A call, as its handler sees it."""

    def __init__(
        self,
        stream: TransportStream,
        request: Request,
        handler: CallHandler,
        deadline: Deadline | None,
        cardinality: grpclib.const.Cardinality,
        recv_type: type[R],
        send_type: type[S],
    ) -> None:
        super().__init__(
            # It has what grpclib uses of its own stream, which is no abstract class.
            cast(grpclib.protocol.Stream, stream),
            request.path,
            cardinality,
            recv_type,
            send_type,
            codec=handler.codec,
            status_details_codec=handler.status_details_codec,
            dispatch=handler.dispatch,
            deadline=deadline,
            user_agent=request.user_agent,
        )
        self._transport_stream = stream
        self._handler = handler
        self._unary = not cardinality.server_streaming
        self._limit = stream.connection.limits.max_send_message
        #: Headers and message of a unary answer that wait for its trailers.
        self._held: tuple[bytes, bytes] | None = None
        compressed = handler.compression == GZIP and request.accepts_gzip
        self._encoding = GZIP if compressed else IDENTITY
        self._protocol_trailers: list[tuple[str, str]] = []

    def add_protocol_trailer(self, name: str, value: str) -> None:
        """Send a trailer of gRPC's own, such as ``grpc-retry-pushback-ms``, at the end.

        Metadata cannot hold it: names that begin with ``grpc-`` are no caller's.
        """
        self._protocol_trailers.append((name, value))

    async def recv_message(self) -> R | None:
        """Return the next message of the client; None after the last."""
        try:
            due = not self._cardinality.client_streaming
            data = await self._transport_stream.recv_message(due=due)
        except TruncatedMessageError:
            text = "the request ends before its announced length"
            raise GRPCError(Status.INVALID_ARGUMENT, text) from None
        if data is None:
            return None
        # A large one is a memoryview, which protobuf reads as well.
        received = self._codec.decode(cast(bytes, data), self._recv_type)
        message: R = (await self._dispatch.recv_message(received))[0]
        return message

    async def send_initial_metadata(self, *, metadata: _MetadataLike | None = None) -> None:
        """Send the headers of the answer."""
        if self._send_initial_metadata_done:
            raise ProtocolError("Initial metadata was already sent")
        block = await self._initial_block(metadata)
        self._transport_stream.send_block(block, end_stream=False)
        self._send_initial_metadata_done = True

    async def send_message(self, message: S) -> None:
        """Send one message; the first is preceded by the headers.

        A small answer of a unary call is held until its trailers come: they all go at once.
        """
        if self._send_message_done and self._unary:
            raise ProtocolError("Message was already sent")
        stream = self._transport_stream
        headers = None if self._send_initial_metadata_done else await self._initial_block()
        (message,) = await self._dispatch.send_message(message)
        data = cast(Outgoing, self._codec.encode(message, self._send_type))
        small = small_frame(data, self._limit, self._encoding)
        if small is not None and headers is not None and self._unary:
            self._held = headers, small
        else:
            if headers is not None:
                stream.send_block(headers, end_stream=False)
                self._send_initial_metadata_done = True
            if small is None or not stream.send_small(small):
                await stream.send_message(data, limit=self._limit, encoding=self._encoding)
        self._send_message_done = True

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: _MetadataLike | None = None,
    ) -> None:
        """Send the end of the answer; without headers before it, all of the answer."""
        if self._send_trailing_metadata_done:
            raise ProtocolError("Trailing metadata was already sent")
        if status is Status.OK and not (not self._unary or self._send_message_done):
            raise ProtocolError("Unary response with OK status requires a single message")
        sent = cast(_Metadata, MultiDict(metadata or ()))
        (sent,) = await self._dispatch.send_trailing_metadata(
            sent,
            status=status,
            status_message=status_message,
            status_details=status_details,
        )
        block = self._status_block(status, status_message, status_details)
        if self._protocol_trailers:
            block += encode(self._protocol_trailers)
        if sent:
            block += encode_metadata(sent)
        # Nobody may be there to hear it.
        with suppress(StreamTerminatedError):
            await self._end(block, answered=status is Status.OK)

    async def _end(self, trailers: bytes, *, answered: bool) -> None:
        """Send the trailers, and what is held for them."""
        stream = self._transport_stream
        held, self._held = self._held, None
        if held is None:
            if not self._send_initial_metadata_done:
                trailers = self._handler.headers[self._encoding] + trailers
        elif not answered:
            trailers = held[0] + trailers
        elif stream.send_answer(*held, trailers):
            self._send_trailing_metadata_done = True
            return
        else:
            stream.send_block(held[0], end_stream=False)
            self._send_initial_metadata_done = True
            await stream.send_data(held[1])
        self._send_trailing_metadata_done = True
        stream.send_block(trailers, end_stream=True)
        if stream.closable:
            # The client has not ended its side, and need not (RFC 9113, section 8.1).
            stream.reset_nowait(ErrorCode.NO_ERROR)

    async def _initial_block(self, metadata: _MetadataLike | None = None) -> bytes:
        sent = cast(_Metadata, MultiDict(metadata or ()))
        (sent,) = await self._dispatch.send_initial_metadata(sent)
        block = self._handler.headers[self._encoding]
        return block + encode_metadata(sent) if sent else block

    def _status_block(self, status: Status, message: str | None, details: Any) -> bytes:
        if status is Status.OK and message is None and details is None:
            return _OK
        fields = [("grpc-status", str(status.value))]
        if message is not None:
            fields.append(("grpc-message", encode_grpc_message(message)))
        if details is not None and self._status_details_codec is not None:
            data = self._status_details_codec.encode(status, message, details)
            fields += encode_bin(_DETAILS, data)
        return encode(fields)


def encode_bin(name: str, value: bytes) -> list[tuple[str, str]]:
    """Return a binary field as it goes over the wire."""
    return [(name, grpclib.metadata.encode_bin_value(value).decode("ascii"))]


class CallHandler(StreamHandler):
    """Serves the calls of one connection; what ``grpclib.server.Handler`` is to grpclib's own.

    Attributes:
        closing: whether the connection is over.
    """

    def __init__(
        self,
        mapping: dict[str, grpclib.const.Handler],
        codec: CodecBase,
        status_details_codec: StatusDetailsCodecBase | None,
        dispatch: _DispatchServerEvents,
        compression: Compression | None = None,
    ) -> None:
        self.closing: bool = False
        self.codec: CodecBase = codec
        self.status_details_codec: StatusDetailsCodecBase | None = status_details_codec
        self.dispatch: _DispatchServerEvents = dispatch
        self.compression: Compression | None = compression
        self._mapping = mapping
        self._subtype = codec.__content_subtype__
        #: The header block of an answer, by the encoding of its messages.
        self.headers: dict[str, bytes] = {
            encoding: _headers(self._subtype, encoding) for encoding in (IDENTITY, GZIP)
        }
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[TransportStream, asyncio.Task[None]] = {}
        self._cancelled: set[asyncio.Task[None]] = set()
        self._known: dict[Fields, tuple[Request, grpclib.const.Handler] | Refusal] = {}

    def accept(self, stream: TransportStream, headers: Fields) -> None:
        """Serve a request in a task of its own."""
        known = self._known.get(headers)
        if known is None:
            known = self._read(headers)
            if len(self._known) >= _MAX_REQUESTS:
                self._known.clear()
            self._known[headers] = known
        if isinstance(known, Refusal):
            _refuse(stream, known)
            return
        request, method = known
        task = self._loop.create_task(self._serve(stream, method, request))
        self._tasks[stream] = task

    def _read(self, headers: Fields) -> tuple[Request, grpclib.const.Handler] | Refusal:
        """Return what the headers ask for, and what serves it."""
        request = read_request(headers, self._subtype)
        if isinstance(request, Refusal):
            return request
        method = self._mapping.get(request.path)
        if method is None:
            return Refusal(200, Status.UNIMPLEMENTED, "Method not found")
        return request, method

    def cancel(self, stream: TransportStream) -> None:
        """Cancel the task of a call."""
        task = self._tasks.pop(stream, None)
        if task is not None:
            task.cancel()
            self._cancelled.add(task)
            task.add_done_callback(partial(self._cancelled_done, stream))

    def close(self) -> None:
        """Cancel the tasks of all calls."""
        for stream in list(self._tasks):
            self.cancel(stream)
        self.closing = True

    async def wait_closed(self) -> None:
        """Wait for the tasks that were cancelled."""
        if self._cancelled:
            await asyncio.wait(self._cancelled)

    def check_closed(self) -> bool:
        """Return whether no task is left."""
        return not self._tasks and not self._cancelled

    def _cancelled_done(self, stream: TransportStream, task: asyncio.Task[None]) -> None:
        self._cancelled.discard(task)
        # Here too: a task that is cancelled before its first step, as of a request that came
        # together with its reset, has not come to the end of ``_serve``.
        stream.connection.release_stream(stream)

    async def _serve(
        self, stream: TransportStream, method: grpclib.const.Handler, request: Request
    ) -> None:
        timeout = request.timeout
        deadline = None if timeout is None else Deadline.from_timeout(timeout)
        call = ServerCall(
            stream,
            request,
            self,
            deadline,
            method.cardinality,
            method.request_type,
            method.reply_type,
        )
        try:
            async with call:
                await self._run(call, stream, method, request)
        except ProtocolError:
            log.exception("Application error")
        except Exception:
            log.exception("Server error")
        finally:
            self._tasks.pop(stream, None)
            stream.connection.release_stream(stream)

    async def _run(
        self,
        call: ServerCall[Any, Any],
        stream: TransportStream,
        method: grpclib.const.Handler,
        request: Request,
    ) -> None:
        """Call the handler; what it raises, ``call`` turns into the status of the answer."""
        wrapper = stream.wrapper = Wrapper()
        timer: asyncio.TimerHandle | None = None
        if call.deadline is not None:
            # Not by the wrapper of grpclib, which raises outside of itself what is past already.
            due = call.deadline.time_remaining()
            timer = self._loop.call_later(due, wrapper.cancel, TimeoutError("Deadline exceeded"))
        try:
            with wrapper:
                await self._handle(call, method, request)
        except GRPCError:
            raise
        except TimeoutError:
            if not wrapper.cancelled:
                log.exception("Timeout occurred")
                raise
            if wrapper.cancel_failed:
                log.exception("Failed to handle cancellation")
            else:
                log.info("Deadline exceeded")
            raise GRPCError(Status.DEADLINE_EXCEEDED) from None
        except StreamTerminatedError as error:
            if wrapper.cancel_failed:
                log.exception("Failed to handle cancellation")
            else:
                log.info("Request was cancelled: %s", error)
            raise
        except Exception:
            log.exception("Application error")
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _handle(
        self, call: ServerCall[Any, Any], method: grpclib.const.Handler, request: Request
    ) -> None:
        call.metadata, function = await self.dispatch.recv_request(
            cast(_Metadata, MultiDict(request.metadata)),
            method.func,
            method_name=request.path,
            deadline=call.deadline,
            content_type=request.content_type,
            user_agent=request.user_agent,
            peer=call.peer,
        )
        if call.deadline is not None and not call.deadline.time_remaining():
            raise GRPCError(Status.DEADLINE_EXCEEDED)
        await function(call)


def _headers(subtype: str, encoding: str) -> bytes:
    fields = [
        (":status", "200"),
        ("content-type", f"{GRPC_CONTENT_TYPE}+{subtype}"),
        ("grpc-accept-encoding", ACCEPTED),
    ]
    if encoding != IDENTITY:
        fields.append(("grpc-encoding", encoding))
    return encode(fields)


def _refuse(stream: TransportStream, refusal: Refusal) -> None:
    fields = [(":status", str(refusal.http_status))]
    if refusal.status is not None:
        fields += [
            ("content-type", "application/grpc"),
            ("grpc-status", str(refusal.status.value)),
            ("grpc-message", encode_grpc_message(refusal.message)),
        ]
    # What came together with the request may have closed its stream, or the connection.
    with suppress(StreamTerminatedError):
        stream.send_block(encode(fields), end_stream=True)
        if stream.closable:
            stream.reset_nowait(ErrorCode.NO_ERROR)
    stream.connection.release_stream(stream)
