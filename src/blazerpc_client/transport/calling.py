"""grpclib's channel on this package's streams: its calls, events, deadlines and cancellation."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TypeVar, cast
from weakref import WeakSet

import grpclib.client
import grpclib.protocol
from grpclib.const import Cardinality
from grpclib.encoding.base import GRPC_CONTENT_TYPE, CodecBase, StatusDetailsCodecBase
from grpclib.exceptions import ProtocolError
from grpclib.metadata import (
    USER_AGENT,
    Deadline,
    _Metadata,
    _MetadataLike,
    decode_metadata,
    encode_timeout,
)
from grpclib.protocol import H2Protocol
from multidict import MultiDict

from blazerpc_client.call import ClientCall
from blazerpc_client.metadata import PREVIOUS_ATTEMPTS
from blazerpc_client.transport.headers import Fields, encode, encode_metadata
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.messages import ACCEPTED, Outgoing
from blazerpc_client.transport.owner import StreamHandler
from blazerpc_client.transport.protocol import TransportProtocol
from blazerpc_client.transport.stream import TransportStream, TruncatedMessageError

S = TypeVar("S")
R = TypeVar("R")


class TransportCall(ClientCall[S, R]):
    """A call on this package's streams."""

    initial_metadata: _Metadata | None
    trailing_metadata: _Metadata | None
    _transport_stream: TransportStream

    async def send_request(self, *, end: bool = False) -> None:
        """Send the headers, over a connection that is made if there is none."""
        if self._send_request_done:
            raise ProtocolError("Request is already sent")
        if end and not self._cardinality.client_streaming:
            raise ProtocolError("Unary request requires a message before its end")
        with self._wrapper:
            stream = await self._new_stream()
            await stream.open(await self._block(), end_stream=end)
            self._take(stream, end=end)

    async def unary(self, message: S) -> R | None:
        """Make the whole of a unary call: send its message, return the answer if there is one."""
        async with self:
            # Once, and not for each of the steps, which are those of a stream.
            with self._wrapper:
                stream = await self._new_stream()
                self._take(stream, end=True)
                block = await self._block()
                (message,) = await self._dispatch.send_message(message)
                data = cast(Outgoing, self._codec.encode(message, self._send_type))
                await stream.send_request(block, data, stream.connection.limits.max_send_message)
                return await self._answer(stream)

    async def _new_stream(self) -> TransportStream:
        connected = await self._channel.__connect__()
        return cast(TransportProtocol, connected).create_stream(self._wrapper)

    def _take(self, stream: TransportStream, *, end: bool) -> None:
        """Note that the request is sent on that stream."""
        protocol = stream.connection
        self._transport_stream = stream
        # It has what grpclib uses of its own stream, which is no abstract class.
        self._stream = cast(grpclib.protocol.Stream, stream)
        self._release_stream = partial(protocol.release_stream, stream)
        self.peer: grpclib.protocol.Peer | None = protocol.get_peer()
        self._send_request_done = True
        self._end_done = end

    async def _block(self) -> bytes:
        """Return the header block of the request."""
        channel = self._channel
        content_type = _content_type(self._codec.__content_subtype__)
        metadata = self._metadata
        (metadata,) = await self._dispatch.send_request(
            metadata,
            method_name=self._method_name,
            deadline=self._deadline,
            content_type=content_type,
        )
        block = _constant(self._method_name, channel._scheme, channel._authority, content_type)
        if self._deadline is not None:
            timeout = encode_timeout(self._deadline.time_remaining())
            block += encode((("grpc-timeout", timeout),))
        if self.previous_attempts:
            block += encode(((PREVIOUS_ATTEMPTS, str(self.previous_attempts)),))
        return block + encode_metadata(metadata) if metadata else block

    async def _answer(self, stream: TransportStream) -> R | None:
        """Return the answer of a unary call, which ends with it.

        Raises:
            GRPCError: for a status that is not OK.
        """
        headers = await stream.recv_headers()
        self._recv_initial_metadata_done = self._recv_trailing_metadata_done = True
        fields = dict(headers)
        self._raise_for_status(fields)
        self._raise_for_content_type(fields)
        if "grpc-status" in fields:
            (self.initial_metadata,) = await self._dispatch.recv_initial_metadata(
                cast(_Metadata, MultiDict())
            )
            await self._take_status(headers)
            return None
        initial = decode_metadata(headers)
        (self.initial_metadata,) = await self._dispatch.recv_initial_metadata(initial)
        data = await self._next(stream)
        await self._take_status(await stream.recv_trailers())
        return None if data is None else await self._decoded(data)

    async def _take_status(self, trailers: Fields) -> None:
        status, message, details = self._process_grpc_status(dict(trailers))
        (self.trailing_metadata,) = await self._dispatch.recv_trailing_metadata(
            decode_metadata(trailers),
            status=status,
            status_message=message,
            status_details=details,
        )
        self._raise_for_grpc_status(status, message, details)

    async def send_message(self, message: S, *, end: bool = False) -> None:
        """Send one message; the first is preceded by the headers."""
        if not self._send_request_done:
            await self.send_request()
        if not self._cardinality.client_streaming:
            if self._send_message_done:
                raise ProtocolError("Message was already sent")
            end = True
        if self._end_done:
            raise ProtocolError("Stream is ended")
        with self._wrapper:
            (message,) = await self._dispatch.send_message(message)
            stream = self._transport_stream
            await stream.send_message(
                cast(Outgoing, self._codec.encode(message, self._send_type)),
                limit=stream.connection.limits.max_send_message,
                end=end,
            )
            self._send_message_done = True
            self._end_done = end

    async def end(self) -> None:
        """End the requests."""
        if not self._send_request_done:
            raise ProtocolError("Request was not sent")
        if self._end_done and self._cardinality.client_streaming:
            raise ProtocolError("Stream was already ended")
        if not self._end_done:
            await self._transport_stream.end_sending()
            self._end_done = True

    async def recv_message(self) -> R | None:
        """Return the next message of the server; None after the last."""
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        with self._wrapper:
            data = await self._next(self._transport_stream)
            return None if data is None else await self._decoded(data)

    async def _next(self, stream: TransportStream) -> bytes | memoryview | None:
        try:
            return await stream.recv_message()
        except TruncatedMessageError:
            raise ProtocolError("an answer ends before its announced length") from None

    async def _decoded(self, data: bytes | memoryview) -> R:
        # A large one is a memoryview, which protobuf reads as well.
        received = self._codec.decode(cast(bytes, data), self._recv_type)
        message: R = (await self._dispatch.recv_message(received))[0]
        return message

    def abort(self) -> None:
        """Fail whatever waits for the answer."""
        self._transport_stream.terminate("no more requests")


@lru_cache(maxsize=256)
def _content_type(subtype: str) -> str:
    # As grpclib does: some servers know only the short form.
    return GRPC_CONTENT_TYPE if subtype == "proto" else f"{GRPC_CONTENT_TYPE}+{subtype}"


@lru_cache(maxsize=1024)
def _constant(path: str, scheme: str, authority: str, content_type: str) -> bytes:
    """Return the header block of what is the same in all requests for an rpc."""
    return encode(
        (
            (":method", "POST"),
            (":scheme", scheme),
            (":path", path),
            (":authority", authority),
            ("content-type", content_type),
            ("user-agent", USER_AGENT),
            ("te", "trailers"),
            ("grpc-accept-encoding", ACCEPTED),
        )
    )


class _ChannelHandler(StreamHandler):
    """Tells grpclib's channel that it needs another connection."""

    def __init__(self) -> None:
        self.connection_lost = False  # what grpclib looks at

    def accept(self, stream: TransportStream, headers: Fields) -> None:
        raise NotImplementedError  # the core lets no server begin a stream

    def cancel(self, stream: TransportStream) -> None:
        """Do nothing: the stream has told its call."""

    def close(self) -> None:
        """Note that the connection takes no more calls."""
        self.connection_lost = True


class TransportChannel(grpclib.client.Channel):
    """grpclib's channel with this package's protocol.

    After a GOAWAY it makes another connection for new calls, and those in flight finish on the
    old one.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        limits: Limits = DEFAULT,
        codec: CodecBase | None = None,
        status_details_codec: StatusDetailsCodecBase | None = None,
    ) -> None:
        super().__init__(host, port, codec=codec, status_details_codec=status_details_codec)
        self._limits = limits
        self._protocols: WeakSet[TransportProtocol] = WeakSet()

    def _protocol_factory(self) -> H2Protocol:
        protocol = TransportProtocol(_ChannelHandler(), client=True, limits=self._limits)
        self._protocols.add(protocol)
        return cast(H2Protocol, protocol)  # what grpclib uses of one, it has

    def close(self) -> None:
        """Close all connections; calls in flight fail."""
        super().close()
        for protocol in list(self._protocols):
            protocol.close()

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[S],
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: _MetadataLike | None = None,
    ) -> TransportCall[S, R]:
        """Return a call that has not been sent."""
        given = [deadline] if deadline is not None else []
        if timeout is not None:
            given.append(Deadline.from_timeout(timeout))
        return TransportCall(
            self,
            name,
            cast(_Metadata, MultiDict(metadata or ())),
            cardinality,
            request_type,
            reply_type,
            codec=self._codec,
            status_details_codec=self._status_details_codec,
            dispatch=self.__dispatch__,
            deadline=min(given, default=None),
        )
