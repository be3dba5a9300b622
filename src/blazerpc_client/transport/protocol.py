"""Between asyncio and the core: one connection, its streams and its timers."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final, cast

from grpclib.protocol import Peer
from grpclib.utils import Wrapper

from blazerpc_client.transport.connection import Connection
from blazerpc_client.transport.errors import ConnectionClosed, ErrorCode, TooManyStreams
from blazerpc_client.transport.events import (
    ConnectionFailed,
    DataReceived,
    Event,
    GoAwayReceived,
    HeadersReceived,
    PingAcked,
    SettingsReceived,
    StreamReset,
    TrailersReceived,
    WindowOpened,
)
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.liveness import Liveness
from blazerpc_client.transport.owner import KnownPeer, StreamHandler
from blazerpc_client.transport.stream import Signal, TransportStream, UnprocessedError

#: More than this is handed over as pieces, which a socket can take without joining them.
_JOINED: Final = 64 << 10

#: Bytes that wait for a socket, from which on its peer is given up.
_UNREAD: Final = 8 << 20

#: What the two pings of this side carry.
_ALIVE: Final = b"blazekpa"
_DRAIN: Final = b"blazedrn"

#: Seconds between the two GOAWAYs of a drain, for a peer that does not answer the ping, and then
#: for one that does not close.
_DRAIN_PATIENCE: Final = 1.0


class TransportProtocol(asyncio.Protocol):
    """One connection, of either role.

    Args:
        handler: told of requests and of the end.
        client: the role of this side.
        limits: that the peer is held to.

    Attributes:
        core: that turns bytes into events.
        can_write: whether the socket takes more.
        blocked: streams that wait for the peer to open a window.
        failure: why the connection ended; None as long as it has not.
        lost: whether the system has let the connection go.
    """

    def __init__(self, handler: StreamHandler, *, client: bool, limits: Limits = DEFAULT) -> None:
        self.handler: StreamHandler = handler
        self.limits: Limits = limits
        self.core: Connection = Connection(client=client, limits=limits, now=time.monotonic())
        self.can_write: bool = True
        self.blocked: set[TransportStream] = set()
        self.is_client: bool = client
        self.failure: str | None = None
        self.lost: bool = False
        self._streams: dict[int, TransportStream] = {}
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._flushing = False
        self._writable = Signal()
        self._stream_closed = Signal()
        self._parting = Signal()
        self._liveness = Liveness(limits, client=client, now=time.monotonic())
        self._timer: asyncio.TimerHandle | None = None
        # Until then the peer has to read what it was sent.
        self._stall: asyncio.TimerHandle | None = None
        self._draining = False
        self._refused = False
        self._hung_up = False
        self._ended = "the connection was closed"

    @property
    def processor(self) -> TransportProtocol:
        """Grpclib's name for what closes a connection."""
        return self

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello."""
        self._transport = cast(asyncio.Transport, transport)
        self.peer: KnownPeer = KnownPeer(self._transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._refused:
            self.core.goodbye(ErrorCode.ENHANCE_YOUR_CALM, b"too many connections")
            self.flush()
            self._end("there are too many connections")
            return
        self._liveness.greet(time.monotonic())
        self._tick()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self._hung_up:
            return
        self._liveness.heard = now = time.monotonic()
        dispatch = self._DISPATCH
        for event in self.core.receive(data, now):
            dispatch[event.__class__](self, event)
        if self.core.pending:
            self.flush_soon()

    def pause_writing(self) -> None:
        """Stop sending: the socket is full."""
        self.can_write = False
        self._expect_reader()

    def resume_writing(self) -> None:
        """Go on."""
        self.can_write = True
        self._writable.notify()
        if not self.is_closing():
            self._cancel_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls."""
        self.lost = True
        self._parting.notify()
        self._ended = "the connection was lost" if exc is None else f"connection lost: {exc}"
        self._end(self._ended)
        self._cancel_stall()

    # What streams and their owners ask for.

    def get_peer(self) -> Peer:
        """Return who is at the other end."""
        return self.peer

    def refuse(self) -> None:
        """Hang up on whoever connects: there are connections enough."""
        self._refused = True

    @property
    def in_flight(self) -> int:
        """How many calls there are."""
        return len(self._streams)

    def is_closing(self) -> bool:
        """Return whether the connection is closed or about to be."""
        return self._transport is None or self._transport.is_closing()

    async def writable(self) -> None:
        """Wait until the socket takes more."""
        while not self.can_write:
            await self._writable.wait()

    def create_stream(self, wrapper: Wrapper | None = None) -> TransportStream:
        """Return a stream for a request that has not been sent."""
        assert self._transport is not None
        return TransportStream(self, self._transport, wrapper=wrapper)

    async def open_stream(self, stream: TransportStream, block: bytes, end_stream: bool) -> int:
        """Send a request's headers, as soon as the peer allows another stream.

        Raises:
            UnprocessedError: when the connection takes no more; another one may.
        """
        while True:
            if self.is_closing():
                raise UnprocessedError(self._ended)
            try:
                stream_id = self.core.open(block, end_stream)
            except ConnectionClosed as error:
                raise UnprocessedError(str(error)) from None
            except TooManyStreams:
                await self._stream_closed.wait()
            else:
                self._register(stream_id, stream)
                self.flush_soon()
                return stream_id

    def send_request(self, stream: TransportStream, block: bytes, data: bytes) -> int | None:
        """Send a whole request, if it can go at once; return the stream if it did."""
        if not self.can_write or self.is_closing():
            return None
        stream_id = self.core.send_request(block, data)
        if stream_id is not None:
            self._register(stream_id, stream)
            self.flush_end()
        return stream_id

    def release(self, stream_id: int, count: int) -> None:
        """Give the peer back the window of data that was read."""
        self.core.release(stream_id, count)
        if self.core.pending:
            self.flush_soon()

    def release_stream(self, stream: TransportStream) -> None:
        """Forget a stream whose call is over."""
        if self._streams.pop(stream.id, None) is None:
            return
        self._liveness.used = time.monotonic()
        if held := stream.drop():
            self.release(stream.id, held)
        # One stream makes room for one: thousands of calls may wait.
        self._stream_closed.notify_one()
        if not self.core.accepts_streams:
            self._close_if_done()

    def flush_soon(self) -> None:
        """Write once in this turn of the loop, whatever else comes to be sent in it."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush_end(self) -> None:
        """Write the end of what a stream sends; at once, if no other stream could join it."""
        if len(self._streams) == 1:
            self.flush()
        else:
            self.flush_soon()

    def flush(self) -> None:
        """Write what is to be sent."""
        self._flushing = False
        pieces = self.core.take()
        if not pieces or self._transport is None or self._transport.is_closing() or self._hung_up:
            return
        if sum(map(len, pieces)) <= _JOINED:
            self._transport.write(b"".join(pieces))
        else:
            # uvloop, and asyncio from Python 3.12 on, hand the pieces to the system as they are.
            self._transport.writelines(pieces)
        if not self.can_write and self._transport.get_write_buffer_size() > _UNREAD:
            # Data waits for the socket; so much can only be answers to who does not read them.
            self._transport.abort()

    def drain(self) -> None:
        """Let calls in flight finish and take no others; then close (RFC 9113, section 6.8).

        The first GOAWAY tells the peer to stop, the second which streams were taken; between the
        two a ping goes there and back, so that nothing that was on its way is lost.
        """
        if not self._draining and not self.is_closing():
            self._draining = True
            self.core.announce_goodbye()
            self.core.ping(_DRAIN)
            self.flush_soon()
            self._loop.call_later(_DRAIN_PATIENCE, self._goodbye)

    async def takes_no_more(self) -> None:
        """Wait until no call can come any more: the second GOAWAY of a drain is sent."""
        while self.core.accepts_streams and not self.is_closing():
            await self._parting.wait()

    async def wait_lost(self) -> None:
        """Wait until the system has let the connection go."""
        while self._transport is not None and not self.lost:
            await self._parting.wait()

    def close(self, reason: str = "the connection was closed") -> None:
        """Close at once; calls in flight fail."""
        if not self.is_closing():
            self.core.goodbye()
            self.flush()
        self._end(reason)

    def _goodbye(self) -> None:
        if not self.is_closing():
            self.core.goodbye()
            self.flush_soon()
            self._stream_closed.notify()
            self._parting.notify()
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._streams or self.is_closing() or self.core.accepts_streams or self._hung_up:
            return
        # The last answer is still to be written, and the transport writes before it closes.
        self.flush()
        if self.is_client:
            self._end("the connection was closed")
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        """Say no more, and let the client close.

        What it wrote before it read the GOAWAY would meet a closed socket, which makes its system
        throw away what it has not read: the GOAWAY, by which it knows what it may send again.
        """
        assert self._transport is not None
        self._hung_up = True
        try:
            if self._transport.can_write_eof():
                self._transport.write_eof()
        except OSError:  # the client was faster
            self._end("the connection was closed")
            return
        self._loop.call_later(_DRAIN_PATIENCE, self._end, "the connection was closed")

    def _end(self, reason: str) -> None:
        self.failure = self.failure or reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None and not self._transport.is_closing():
            # It stays until the peer has read all; and the peer may never do that.
            self._transport.close()
            self._expect_reader()
        self.handler.close()
        for stream in list(self._streams.values()):
            stream.terminate(reason)
        # Whoever waits for the socket or for a free stream waits in vain.
        self.can_write = True
        self._writable.notify()
        self._stream_closed.notify()
        self._parting.notify()

    def _expect_reader(self) -> None:
        """Give the peer up when it does not read in time what it was sent."""
        patience = self.limits.stall_timeout
        if self._stall is None and patience is not None:
            assert self._transport is not None
            self._stall = self._loop.call_later(patience, self._transport.abort)

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _register(self, stream_id: int, stream: TransportStream) -> None:
        self._streams[stream_id] = stream

    # Timers: one for all, that looks what is due.

    def _tick(self) -> None:
        self._timer = None
        now, busy = time.monotonic(), bool(self._streams)
        if self._liveness.is_overdue(now):
            self._end("the peer does not answer")
            return
        if self._liveness.should_ping(now):
            self.core.ping(_ALIVE)
            self.flush_soon()
        if self._liveness.should_end(now, busy=busy):
            self.drain()
        self._timer = self._loop.call_later(self._liveness.pause(now, busy=busy), self._tick)

    # What the core says.

    def _on_headers(self, event: HeadersReceived) -> None:
        if self.is_client:
            stream = self._streams.get(event.stream_id)
        else:
            assert self._transport is not None
            stream = TransportStream(self, self._transport, event.stream_id)
            self._register(event.stream_id, stream)
        if stream is not None:
            stream.begin(event.fields, self.limits.max_receive_message)
            if event.end_stream:
                stream.end()
            if not self.is_client:
                self.handler.accept(stream, event.fields)

    def _on_trailers(self, event: TrailersReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.end(event.fields)

    def _on_data(self, event: DataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            self.core.release(event.stream_id, len(event.data))
            return
        stream.feed(event.data)
        if event.end_stream:
            stream.end()

    def _on_reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.terminate(event.reason, unprocessed=event.unprocessed)
            self.handler.cancel(stream)

    def _on_window(self, event: WindowOpened) -> None:
        # Some clients open the window after each message: what is not waited for must cost little.
        for stream in self.blocked:
            if event.stream_id in (0, stream.id):
                stream.window_opened()

    def _on_settings(self, event: SettingsReceived) -> None:
        if self._liveness.answered() and self._timer is not None:
            self._timer.cancel()
            self._tick()
        self._stream_closed.notify()  # there may be more at once now
        self.handler.greeted()

    def _on_ping(self, event: PingAcked) -> None:
        if event.payload == _DRAIN:
            # Not before the other events of these bytes: the core counts a request among those that
            # were taken, and its stream is not there yet.
            self._loop.call_soon(self._goodbye)
        elif event.payload == _ALIVE:
            self._liveness.answered()

    def _on_goaway(self, event: GoAwayReceived) -> None:
        # A client's next call goes over another connection; those in flight finish on this one.
        if self.is_client:
            self.handler.close()
            self._stream_closed.notify()  # who waits for a stream here need not
        self._close_if_done()

    def _on_failure(self, event: ConnectionFailed) -> None:
        self.flush()
        self._end(f"the peer broke the protocol: {event.reason}")

    _DISPATCH: ClassVar[dict[type[Event], Callable[[TransportProtocol, Any], None]]] = {
        HeadersReceived: _on_headers,
        TrailersReceived: _on_trailers,
        DataReceived: _on_data,
        StreamReset: _on_reset,
        WindowOpened: _on_window,
        SettingsReceived: _on_settings,
        PingAcked: _on_ping,
        GoAwayReceived: _on_goaway,
        ConnectionFailed: _on_failure,
    }
