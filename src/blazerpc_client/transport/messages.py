"""gRPC messages in the data of a stream: five bytes of prefix, then the message.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message", and
https://github.com/grpc/grpc/blob/master/doc/compression.md
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections import deque
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

IDENTITY: Final = "identity"
GZIP: Final = "gzip"

#: What ``grpc-accept-encoding`` says.
ACCEPTED: Final = f"{IDENTITY},{GZIP}"

_PREFIX: Final = struct.Struct(">BI")

#: Smaller messages do not get shorter by being compressed.
_WORTH_COMPRESSING: Final = 256

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


def frame(message: bytes, limit: int, encoding: str = IDENTITY) -> list[bytes]:
    """Return a message as the pieces to send, compressed where that makes it shorter.

    Raises:
        GRPCError: RESOURCE_EXHAUSTED, for a message beyond ``limit``.
    """
    if len(message) > limit:
        text = f"a message of {len(message)} bytes is to be sent, {limit} are allowed"
        raise GRPCError(Status.RESOURCE_EXHAUSTED, text)
    if encoding == GZIP and len(message) >= _WORTH_COMPRESSING:
        compressed = gzip.compress(message, compresslevel=1, mtime=0)
        if len(compressed) < len(message):
            return [_PREFIX.pack(1, len(compressed)), compressed]
    return [_PREFIX.pack(0, len(message)), message]


class _Compressed:
    """A message that is still to be decompressed; its size is what it took of the window."""

    __slots__ = ("body",)

    def __init__(self, body: bytes | bytearray) -> None:
        self.body = body

    def __len__(self) -> int:
        return len(self.body)


class MessageReader:
    """Finds the messages of one stream, in data that is cut anywhere.

    The prefix is judged before a byte of its message is held, and memory grows with what has
    come, never with what is announced. Each byte is copied once, into the buffer that the message
    will be given out in. What is compressed waits as it came, so that windows bound what it takes.

    Args:
        limit: of one message, before and after decompression.
        encoding: that the peer has announced; ``check_encoding`` has passed it.

    Attributes:
        messages: that are complete, in order, and as they came.
    """

    __slots__ = ("_body", "_compressed", "_encoding", "_limit", "_missing", "_prefix", "messages")

    def __init__(self, limit: int, encoding: str = IDENTITY) -> None:
        self._limit = limit
        self._encoding = encoding
        self._prefix = b""
        self._body: bytearray | None = None
        self._missing = 0
        self._compressed = False
        self.messages: deque[bytes | bytearray | _Compressed] = deque()

    @property
    def partial(self) -> bool:
        """Whether the data so far ends within a message."""
        return self._body is not None or bool(self._prefix)

    @property
    def progress(self) -> tuple[int, int]:
        """What of a message has come: it differs when more has."""
        return len(self._prefix), self._missing

    def feed(self, data: memoryview) -> None:
        """Take data of the stream; complete messages are in ``messages`` afterwards.

        Raises:
            GRPCError: for a message that is too large. The stream has no other after it.
        """
        while data:
            if self._body is None:
                data = self._begin(data)
            else:
                piece = data[: self._missing]
                self._body += piece
                self._missing -= len(piece)
                data = data[len(piece) :]
                if not self._missing:
                    body, self._body = self._body, None
                    self._complete(body)

    def take(self) -> bytes | bytearray:
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
        if length <= len(data):
            self._complete(bytes(data[:length]))
            return data[length:]
        self._body = bytearray()
        self._missing = length
        return data

    def _check(self, flag: int, length: int) -> None:
        if length > self._limit:
            raise _too_large(f"{length} bytes", self._limit)
        if flag > 1:
            raise GRPCError(Status.INTERNAL, f"a message with the flag {flag}")
        if flag and self._encoding == IDENTITY:
            # doc/compression.md: the flag without an encoding is a fault of the sender.
            raise GRPCError(Status.INTERNAL, "a compressed message without a grpc-encoding")

    def _complete(self, body: bytes | bytearray) -> None:
        self.messages.append(_Compressed(body) if self._compressed else body)


def _decompress(body: bytes | bytearray, limit: int) -> bytes:
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
