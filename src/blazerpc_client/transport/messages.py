"""gRPC messages in the data of a stream: five bytes of prefix, then the message.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message", and
https://github.com/grpc/grpc/blob/master/doc/compression.md
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections import deque
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc_client.wire.large import LARGE, data_offset

#: What can be asked for.
Compression: TypeAlias = Literal["gzip"]

IDENTITY: Final = "identity"
GZIP: Final = "gzip"

#: What ``grpc-accept-encoding`` says.
ACCEPTED: Final = f"{IDENTITY},{GZIP}"

_PREFIX: Final = struct.Struct(">BI")

#: A message that is to be sent, whole or in pieces.
Outgoing: TypeAlias = bytes | tuple[bytes | memoryview, ...]

#: Of a message, pieces up to this size are joined: the copy costs less than another frame.
JOINED: Final = 8 << 10

#: Smaller messages do not get shorter by being compressed.
_WORTH_COMPRESSING: Final = 256

#: Room for a message that has begun, in times of what has come of it.
_GROWTH: Final = 4

#: Of a tensor's data: that of what the system's allocator gives.
_ALIGNMENT: Final = 16

#: 16 more than zlib's largest window: the gzip format (zlib's manual, inflateInit2).
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


def check_encoding(encoding: str) -> None:
    """Check what a peer says its messages are compressed with.

    Raises:
        GRPCError: UNIMPLEMENTED, with the encodings that are known.
    """
    if encoding not in (IDENTITY, GZIP):
        known = ACCEPTED.replace(",", ", ")
        message = f"grpc-encoding {encoding[:40]!r} is not supported; these are: {known}"
        raise GRPCError(Status.UNIMPLEMENTED, message)


def size_of(message: Outgoing) -> int:
    """Return how many bytes a message has."""
    return len(message) if isinstance(message, bytes) else sum(map(len, message))


def small_frame(message: Outgoing, limit: int, encoding: str) -> bytes | None:
    """Return a message as one piece to send if it is small and needs no more; most are so."""
    if isinstance(message, bytes) and encoding == IDENTITY:
        size = len(message)
        if size <= JOINED and size <= limit:
            return _PREFIX.pack(0, size) + message
    return None


def frame(message: Outgoing, limit: int, encoding: str = IDENTITY) -> list[bytes | memoryview]:
    """Return a message as the pieces to send, compressed where that makes it shorter.

    Pieces up to ``JOINED`` are joined, larger ones go as they are.

    Raises:
        GRPCError: RESOURCE_EXHAUSTED, for a message beyond ``limit``.
    """
    size = size_of(message)
    if size > limit:
        text = f"a message of {size} bytes is to be sent, {limit} are allowed"
        raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
    pieces = (message,) if isinstance(message, bytes) else message
    if encoding == GZIP and size >= _WORTH_COMPRESSING:
        compressed = gzip.compress(b"".join(pieces), compresslevel=1, mtime=0)
        if len(compressed) < size:
            return _joined(_PREFIX.pack(1, len(compressed)), (compressed,))
    return _joined(_PREFIX.pack(0, size), pieces)


def _joined(prefix: bytes, pieces: Iterable[bytes | memoryview]) -> list[bytes | memoryview]:
    joined: list[bytes | memoryview] = []
    small = prefix
    for piece in pieces:
        if len(piece) <= JOINED:
            small += piece
        else:
            joined += small, piece
            small = b""
    return [*joined, small] if small else joined


class _Body:
    """A large message, while it comes.

    Room is made for some times of what has come, never for what is announced. It is where the
    message stays: the data of a tensor is aligned in it.
    """

    __slots__ = ("_buffer", "_have", "_length", "_padding")

    def __init__(self, length: int, begin: memoryview) -> None:
        self._length = length
        self._have = 0
        self._padding = -data_offset(begin) % _ALIGNMENT
        self._buffer = self._room(_GROWTH * len(begin))

    @property
    def missing(self) -> int:
        """How many bytes are to come."""
        return self._length - self._have

    def add(self, piece: memoryview) -> None:
        """Take the next bytes."""
        end = self._have + len(piece)
        if end > len(self._buffer):
            before = self._buffer[: self._have]
            self._buffer = self._room(_GROWTH * end)
            self._buffer[: self._have] = before
        self._buffer[self._have : end] = piece
        self._have = end

    def message(self) -> memoryview:
        """Return the message; all of it has come."""
        return self._buffer[: self._length]

    def _room(self, size: int) -> memoryview:
        size = min(size, self._length)
        # Imported with the first large message: what asks for the health of a server gets none.
        import numpy as np

        # Not a bytearray, which would be filled with zeros first.
        return np.empty(self._padding + size, np.uint8).data[self._padding :]


class _Compressed:
    """A message that is still to be decompressed; its size is what it took of the window."""

    __slots__ = ("body",)

    def __init__(self, body: bytes | memoryview) -> None:
        self.body = body

    def __len__(self) -> int:
        return len(self.body)


class MessageReader:
    """Finds the messages of one stream, in data that is cut anywhere.

    The prefix is judged before a byte of its message is held, and memory grows with what has
    come, never with what is announced. Each byte is copied once, into the buffer that the message
    will be given out in; those of a large one some more until it has room for all. What is
    compressed waits as it came, so that windows bound what it takes.

    Args:
        limit: of one message, before and after decompression.
        encoding: that the peer has announced; ``check_encoding`` has passed it.

    Attributes:
        messages: that are complete, in order, and as they came.
    """

    __slots__ = ("_body", "_compressed", "_encoding", "_limit", "_prefix", "messages")

    def __init__(self, limit: int, encoding: str = IDENTITY) -> None:
        self._limit = limit
        self._encoding = encoding
        self._prefix = b""
        self._body: _Body | None = None
        self._compressed = False
        self.messages: deque[bytes | memoryview | _Compressed] = deque()

    @property
    def partial(self) -> bool:
        """Whether the data so far ends within a message."""
        return self._body is not None or bool(self._prefix)

    @property
    def progress(self) -> tuple[int, int]:
        """What of a message has come: it differs when more has."""
        return len(self._prefix), self._body.missing if self._body is not None else 0

    def feed(self, data: memoryview) -> None:
        """Take data of the stream; complete messages are in ``messages`` afterwards.

        Raises:
            GRPCError: for a message that is too large. The stream has no other after it.
        """
        while data:
            data = self._begin(data) if self._body is None else self._go_on(self._body, data)

    def take(self) -> bytes | memoryview:
        """Return the first message.

        Raises:
            GRPCError: for one that cannot be decompressed, or is too large then.
        """
        message = self.messages.popleft()
        if isinstance(message, _Compressed):
            return _decompress(message.body, self._limit)
        return message

    def _begin(self, data: memoryview) -> memoryview:
        """Read a prefix, and its whole message where that is there; return what comes after."""
        if self._prefix or len(data) < _PREFIX.size:
            missing = _PREFIX.size - len(self._prefix)
            self._prefix += data[:missing]
            data = data[missing:]
            if len(self._prefix) < _PREFIX.size:
                return data
            flag, length = _PREFIX.unpack(self._prefix)
            self._prefix = b""
        else:
            flag, length = _PREFIX.unpack_from(data)
            data = data[_PREFIX.size :]
        self._check(flag, length)
        self._compressed = bool(flag)
        if length <= len(data) and length < LARGE:
            self._complete(bytes(data[:length]))
            return data[length:]
        self._body = _Body(length, data)
        return self._go_on(self._body, data)

    def _go_on(self, body: _Body, data: memoryview) -> memoryview:
        """Take what there is of a message; return what comes after."""
        piece = data[: body.missing]
        body.add(piece)
        if not body.missing:
            self._body = None
            message = body.message()
            self._complete(message if len(message) >= LARGE else bytes(message))
        return data[len(piece) :]

    def _check(self, flag: int, length: int) -> None:
        if length > self._limit:
            raise _too_large(f"{length} bytes", self._limit)
        if flag > 1:
            raise GRPCError(Status.INTERNAL, f"a message with the flag {flag}")
        if flag and self._encoding == IDENTITY:
            # doc/compression.md: the flag without an encoding is a fault of the sender.
            raise GRPCError(Status.INTERNAL, "a compressed message without a grpc-encoding")

    def _complete(self, body: bytes | memoryview) -> None:
        self.messages.append(_Compressed(body) if self._compressed else body)


def _decompress(body: bytes | memoryview, limit: int) -> bytes:
    """Return what gzip made of ``body``, never holding more than ``limit`` of it.

    Raises:
        GRPCError: for what is larger, or no gzip.
    """
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    try:
        # One byte more than allowed tells what is too large from what is just not.
        message = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise GRPCError(Status.INTERNAL, f"a message that is no gzip: {error}") from None
    if len(message) > limit:
        raise _too_large(f"more than {limit} bytes, decompressed,", limit)
    if not inflate.eof or inflate.unused_data:
        raise GRPCError(Status.INTERNAL, "a message that is no gzip: it ends too early or late")
    return message


def _too_large(size: str, limit: int) -> GRPCError:
    return GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {size} came, {limit} are allowed")
