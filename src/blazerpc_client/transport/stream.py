"""One call's stream: what grpclib asks of a stream, and whole messages instead of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.utils import Wrapper

from blazerpc_client.transport.errors import ErrorCode, StreamClosed
from blazerpc_client.transport.headers import Fields, encode
from blazerpc_client.transport.messages import (
    IDENTITY,
    MessageReader,
    Outgoing,
    check_encoding,
    frame,
    small_frame,
)

if TYPE_CHECKING:
    from blazerpc_client.transport.protocol import TransportProtocol

#: Data that may wait for the end of this turn of the loop. A handler that only sends never gives
#: the loop a turn: from here on the socket is asked, and makes it wait.
_QUEUED: Final = 64 << 10

#: Data handed to the socket at once; between two such pieces it may ask for a pause.
_PIECE: Final = 1 << 20


class TruncatedMessageError(Exception):
    """The peer ended the stream within a message."""


class UnprocessedError(StreamTerminatedError):
    """The peer has done nothing of the request: it can be sent again (RFC 9113, section 8.7)."""


class Signal:
    """Wakes whoever waits for something to change; nothing is made until somebody does."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] | None = None

    async def wait(self) -> None:
        """Wait for the next ``notify``."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def notify(self) -> None:
        """Wake all who wait."""
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)


class TransportStream:
    """A stream of either role.

    Attributes:
        id: number of the stream; 0 until a client's request is sent.
        connection: that it is one of.
        headers: of the peer, once they have come.
        trailers: likewise.
        wrapper: grpclib's, which tells a waiting task of the end of the stream.
    """

    __slots__ = (
        "_arrived",
        "_closed",
        "_ended",
        "_failure",
        "_held",
        "_reader",
        "_reading",
        "_transport",
        "_window",
        "connection",
        "headers",
        "id",
        "trailers",
        "wrapper",
    )

    def __init__(
        self,
        connection: TransportProtocol,
        transport: asyncio.Transport,
        stream_id: int = 0,
        wrapper: Wrapper | None = None,
    ) -> None:
        self.id: int = stream_id
        self.connection: TransportProtocol = connection
        self.wrapper: Wrapper | None = wrapper
        self.headers: Fields | None = None
        self.trailers: Fields | None = None
        self._transport = transport  # grpclib asks it whether it is closing
        self._reader: MessageReader | None = None
        self._failure: GRPCError | None = None
        self._closed: str | None = None  # why, when it ended before its time
        self._ended = False  # by the peer, in order
        self._reading = False
        self._held = 0  # bytes of window that nobody has read yet
        self._arrived = Signal()
        self._window = Signal()

    # What the protocol tells.

    def begin(self, headers: Fields, limit: int) -> None:
        """Take the peer's headers; messages follow, of ``limit`` bytes at most."""
        encoding = "identity"
        for name, value in headers:
            if name == "grpc-encoding":
                encoding = value
        try:
            check_encoding(encoding)
        except GRPCError as error:
            self._failure = error
        self._reader = MessageReader(limit, encoding)
        self.headers = headers
        self._arrived.notify()

    def feed(self, data: memoryview) -> None:
        """Take data; its window is given back when it is read, or somebody waits for more."""
        assert self._reader is not None
        if self._failure is not None:
            self.connection.release(self.id, len(data))
            return
        try:
            self._reader.feed(data)
        except GRPCError as error:
            self._failure = error
        if self._reading or self._failure is not None:
            self.connection.release(self.id, len(data))
        else:
            self._held += len(data)
        if self._failure is not None or self._reader.messages:
            self._arrived.notify()

    def end(self, trailers: Fields | None = None) -> None:
        """Take the end of the peer's side."""
        if trailers is not None:
            self.trailers = trailers
        self._ended = True
        self._arrived.notify()

    def window_opened(self) -> None:
        """Let data that waits go on."""
        self._window.notify()

    def terminate(self, reason: str, *, unprocessed: bool = False) -> None:
        """End before the time: whoever waits for the stream, now or later, gets the error."""
        if self.connection.is_client and self._ended:
            # The answer is whole. A server resets the stream after it when it does not want the
            # rest of the requests (RFC 9113, section 8.1): whoever sends those hears of it.
            self._window.notify()
        elif self._closed is None:
            self._closed = reason
            if self.wrapper is not None:
                error = UnprocessedError if unprocessed else StreamTerminatedError
                self.wrapper.cancel(error(reason))
            self._arrived.notify()
            self._window.notify()

    def drop(self) -> int:
        """Return how much of the window nobody will read any more."""
        held, self._held = self._held, 0
        return held

    # What a client or a handler asks for.

    async def recv_headers(self) -> Fields:
        """Return the peer's headers."""
        while self.headers is None:
            self._check()
            await self._arrived.wait()
        return self.headers

    async def recv_trailers(self) -> Fields:
        """Return the peer's trailers."""
        while self.trailers is None:
            self._check()
            if self._ended:
                raise StreamTerminatedError("the answer ended without a status")
            await self._arrived.wait()
        return self.trailers

    async def recv_message(self, *, due: bool = False) -> bytes | memoryview | None:
        """Return the next message; None at the end of the stream.

        Args:
            due: whether the client has no reason to let a server wait for it. Once it has begun,
                it has none.

        Raises:
            GRPCError: for a message that is too large, cannot be decompressed, or does not come.
            TruncatedMessageError: when the stream ends within a message.
            StreamTerminatedError: when it ended before its time.
        """
        reader = self._reader
        assert reader is not None  # the headers were waited for
        while not reader.messages:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                if reader.partial:
                    raise TruncatedMessageError
                return None
            self._check()
            await self._more(due or reader.partial)
        size = len(reader.messages[0]) + 5  # the prefix counts, too
        try:
            message = reader.take()
        except GRPCError as error:
            self._failure = error
            reader.messages.clear()
            raise
        if self._held:
            count = min(self._held, size) if reader.messages else self._held
            self._held -= count
            self.connection.release(self.id, count)
        return message

    async def _more(self, due: bool) -> None:
        # A message may be larger than the window: while it is waited for, the window stays open.
        self.connection.release(self.id, self.drop())
        self._reading = True
        try:
            if due and not self.connection.is_client:
                await self._arrives()
            else:
                await self._arrived.wait()
        finally:
            self._reading = False

    async def _arrives(self) -> None:
        """Wait for a client's message as long as more of it comes."""
        assert self._reader is not None
        while True:
            before = self._reader.progress
            try:
                async with asyncio.timeout(self.connection.limits.stall_timeout):
                    await self._arrived.wait()
                return
            except TimeoutError:
                if self._reader.progress == before:
                    text = "the request does not come"
                    raise GRPCError(Status.DEADLINE_EXCEEDED, text) from None

    async def open(self, block: bytes, *, end_stream: bool) -> None:
        """Begin a request, as soon as the peer allows another stream."""
        await self.connection.writable()
        self.id = await self.connection.open_stream(self, block, end_stream)

    async def send_request(self, block: bytes, message: Outgoing, limit: int) -> None:
        """Send a request of one message.

        Raises:
            GRPCError: for a message beyond ``limit``.
            StreamTerminatedError: when the stream is closed.
        """
        small = small_frame(message, limit, IDENTITY)
        if small is not None:
            stream_id = self.connection.send_request(self, block, small)
            if stream_id is not None:
                self.id = stream_id
                return
        await self.open(block, end_stream=False)
        await self.send_message(message, limit=limit, end=True)

    async def send_headers(
        self, headers: Sequence[tuple[str, str]], end_stream: bool = False
    ) -> None:
        """Send headers or, with ``end_stream``, trailers."""
        self.send_block(encode(headers), end_stream)

    def send_block(self, block: bytes, end_stream: bool) -> None:
        """Send a header block that is encoded already.

        Raises:
            StreamTerminatedError: when the stream is closed.
        """
        try:
            self.connection.core.send_headers(self.id, block, end_stream)
        except StreamClosed:
            raise StreamTerminatedError(self._closed or "the stream is closed") from None
        if end_stream:
            self.connection.flush_end()
        else:
            self.connection.flush_soon()

    def send_answer(self, headers: bytes, data: bytes, trailers: bytes) -> bool:
        """Send a whole answer, if it can go at once; return whether it did."""
        sent = self.connection.core.send_answer(self.id, headers, data, trailers)
        if sent:
            self.connection.flush_end()
        return sent

    async def send_message(
        self, message: Outgoing, *, limit: int, encoding: str = IDENTITY, end: bool = False
    ) -> None:
        """Send one message, as fast as the peer reads.

        Raises:
            GRPCError: for a message beyond ``limit``.
            StreamTerminatedError: when the stream is closed.
        """
        small = None if end else small_frame(message, limit, encoding)
        if small is not None and self.send_small(small):
            return
        *before, last = frame(message, limit, encoding)
        for piece in before:
            await self.send_data(piece)
        await self.send_data(last, end)

    def send_small(self, data: bytes) -> bool:
        """Send data that needs not wait for anything; return whether it does not."""
        connection = self.connection
        core = connection.core
        if not connection.can_write or core.queued > _QUEUED or not core.send_small(self.id, data):
            return False
        connection.flush_soon()
        return True

    async def send_data(self, data: bytes | memoryview, end_stream: bool = False) -> None:
        """Send bytes, as fast as the peer reads."""
        view = memoryview(data)
        while True:
            if not self.connection.can_write:
                await self.connection.writable()
            piece = view[:_PIECE]
            end = end_stream and len(piece) == len(view)
            try:
                sent = self.connection.core.send_data(self.id, piece, end)
            except StreamClosed:
                raise StreamTerminatedError(self._closed or "the stream is closed") from None
            view = view[sent:]
            if view or self.connection.core.queued > _QUEUED:
                self.connection.flush()
            elif end:
                self.connection.flush_end()
            else:
                self.connection.flush_soon()
            if not view:
                return
            if not sent:
                await self._wait_for_window()

    async def _wait_for_window(self) -> None:
        self.connection.blocked.add(self)
        try:
            async with asyncio.timeout(self.connection.limits.stall_timeout):
                await self._window.wait()
        except TimeoutError:
            self.reset_nowait(ErrorCode.CANCEL)
            # Not by ``terminate``: its wrapper would cancel this very task.
            self._closed = "the peer does not read"
            self._arrived.notify()
            raise StreamTerminatedError(self._closed) from None
        finally:
            self.connection.blocked.discard(self)

    async def end_sending(self) -> None:
        """End this side without data."""
        await self.send_data(b"", end_stream=True)

    async def reset(self, error_code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Reset the stream."""
        self.reset_nowait(error_code)

    def reset_nowait(self, error_code: ErrorCode = ErrorCode.CANCEL) -> None:
        """Reset the stream."""
        self.connection.core.reset(self.id, error_code)
        self.connection.flush_soon()

    @property
    def closable(self) -> bool:
        """Whether there is something left to reset."""
        return not self._transport.is_closing() and self.connection.core.is_open(self.id)

    def _check(self) -> None:
        if self._closed is not None:
            raise StreamTerminatedError(self._closed)
