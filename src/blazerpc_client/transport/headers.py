"""Header blocks: HPACK (RFC 7541), and which fields may be there (RFC 9113, section 8).

The ``hpack`` library reads blocks and keeps the table. Blocks are written here, as literals that
no table ever holds: what is sent again and again is encoded once, and stays the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias, cast

import grpclib.metadata
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.hpack import Decoder
from hpack.table import HeaderTable

from blazerpc_client.transport.errors import ConnectionFault, ErrorCode, StreamFault

Fields: TypeAlias = tuple[tuple[str, str], ...]

#: Raises a ``StreamFault`` for fields that a message may not have.
Check: TypeAlias = Callable[[Fields], None]


@dataclass(frozen=True, slots=True)
class Block:
    """A header block that was read and checked.

    Attributes:
        fields: in their order.
        content_length: what the data of the stream has to add up to, if that is said.
    """

    fields: Fields
    content_length: int | None = None


class _Table(HeaderTable):
    """The dynamic table, counting its changes."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        # hpack hands over views, and each would keep its whole block alive.
        super().add(bytes(name), bytes(value))


class BlockDecoder:
    """Reads the header blocks of one connection.

    A gRPC client sends the same fully indexed block for call after call. What a block's bytes mean
    changes only with the dynamic table, so until then a block is looked up instead of decoded.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._table = _Table()
        self._decoder = Decoder(max_header_list_size=_HARD * limit)
        self._decoder.header_table = self._table
        self._changes = 0
        self._known: dict[tuple[Check, bytes], Block] = {}

    def decode(self, data: bytes, check: Check) -> Block:
        """Return a header block.

        Raises:
            StreamFault: for fields that may not be; the table is in order.
            ConnectionFault: when the table is not: nothing after this block can be read.
        """
        known = self._known.get((check, data))
        return known if known is not None else self._decode(data, check)

    def _decode(self, data: bytes, check: Check) -> Block:
        try:
            raw = self._read(data)
        except OversizedHeaderListError as error:
            # Reading on would only be work for the one who sent it.
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from None
        except HPACKError:
            # RFC 9113, section 4.3: the tables of both sides differ from here on. Not hpack's own
            # text, which the peer would be sent: it may name an address in memory.
            reason = "a header block that cannot be decoded"
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, reason) from None
        changed = self._changed(data)
        size = sum(len(name) + len(value) + 32 for name, value in raw)
        if size > self._limit:
            raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, f"a header list of {size} bytes")
        fields = tuple(_text(name, value) for name, value in raw)
        check(fields)
        block = Block(fields, _content_length(fields))
        if not changed and len(data) <= _MAX_KNOWN_SIZE:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[check, data] = block
        return block

    def _read(self, data: bytes) -> list[tuple[bytes, bytes]]:
        fields = self._decoder.decode(data, raw=True)
        return cast(list[tuple[bytes, bytes]], fields)  # bytes, as they were asked for raw

    def _changed(self, data: bytes) -> bool:
        """Return whether a block changed the table; if so, forget what others meant."""
        # An update of the table's size may come back to the same size and yet have emptied it.
        changed = self._table.changes != self._changes or data.startswith(_UPDATES)
        if changed:
            self._known.clear()
            self._changes = self._table.changes
        return changed


#: A list this many times the limit ends the connection; between the two it ends its stream.
_HARD: Final = 4

_MAX_KNOWN: Final = 64
_MAX_KNOWN_SIZE: Final = 1 << 10

#: First bytes of a change of the table's size (RFC 7541, section 6.3), always a block's first.
_UPDATES: Final = tuple(bytes([byte]) for byte in range(0x20, 0x40))

# RFC 9113, section 8.2.1. Values beyond ASCII are allowed there, but not in gRPC.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"(?:[!-~](?:[\t -~]*[!-~])?)?")


def _text(name: bytes, value: bytes) -> tuple[str, str]:
    if _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        raise _malformed(f"field {name[:40]!r}")
    return name.decode("ascii"), value.decode("ascii")


def _malformed(what: str) -> StreamFault:
    # RFC 9113, section 8.1.1.
    return StreamFault(ErrorCode.PROTOCOL_ERROR, f"{what} makes a malformed message")


def _content_length(fields: Fields) -> int | None:
    values = {value for name, value in fields if name == "content-length"}
    if not values:
        return None
    value = values.pop()
    # RFC 9110, section 8.6.
    if values or re.fullmatch("[0-9]{1,18}", value) is None:
        raise _malformed("content-length")
    return int(value)


#: Of HTTP/1.1 connections (RFC 9113, section 8.2.2).
_CONNECTION_FIELDS: Final = frozenset(
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
)


def check_request(fields: Fields) -> None:
    """Check a request's headers (RFC 9113, section 8.3.1).

    Raises:
        StreamFault: for fields that make it malformed.
    """
    pseudo = _check(fields, frozenset([":method", ":scheme", ":path", ":authority"]))
    if not {":method", ":scheme", ":path"} <= pseudo.keys() or not pseudo[":path"]:
        raise _malformed("a pseudo field that is missing")


def check_response(fields: Fields) -> None:
    """Check a response's headers (RFC 9113, section 8.3.2).

    Raises:
        StreamFault: for fields that make it malformed.
    """
    status = _check(fields, frozenset([":status"])).get(":status", "")
    # There is no 101 in HTTP/2 (RFC 9113, section 8.6).
    if re.fullmatch("[1-9][0-9]{2}", status) is None or status == "101":
        raise _malformed(f"status {status!r}")


def check_trailers(fields: Fields) -> None:
    """Check trailers, which have no pseudo fields (RFC 9113, section 8.1).

    Raises:
        StreamFault: for fields that make them malformed.
    """
    _check(fields, frozenset())


def _check(fields: Fields, allowed: frozenset[str]) -> dict[str, str]:
    """Check what holds for all messages (RFC 9113, 8.2.2, 8.3); return the pseudo fields."""
    pseudo: dict[str, str] = {}
    regular = False
    for name, value in fields:
        if name.startswith(":"):
            if regular or name in pseudo or name not in allowed:
                raise _malformed(f"pseudo field {name[:40]!r}")
            pseudo[name] = value
        else:
            regular = True
            if name in _CONNECTION_FIELDS or (name == "te" and value != "trailers"):
                raise _malformed(f"field {name!r}")
    return pseudo


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block that changes no table and depends on none."""
    return b"".join([_encode_field(name, value) for name, value in fields])


def encode_metadata(metadata: Mapping[str, str | bytes]) -> bytes:
    """Return a header block of metadata, as ``encode``.

    Raises:
        ValueError: for a key or value that gRPC cannot carry.
        TypeError: for a value of another type than its key says.
    """
    block = bytearray()
    for key, value in metadata.items():
        name, binary = _encode_key(key)
        if binary and isinstance(value, bytes):
            data = grpclib.metadata.encode_bin_value(value)
        elif not binary and isinstance(value, str):
            if not (value and value.isascii() and value.isprintable()):
                raise ValueError(f"the metadata of {key!r} has a value that is no ASCII text")
            data = value.encode("ascii")
        else:
            raise TypeError(f"the metadata of {key!r} has a {type(value).__name__} as its value")
        size = len(data)
        block += name
        if size < 0x7F:  # as _integer has it
            block.append(size)
        else:
            block += _integer(size, 7)
        block += data
    return bytes(block)


@lru_cache(maxsize=256)
def _encode_key(key: str) -> tuple[bytes, bool]:
    """Return a key's start of a literal, and whether its values are binary."""
    binary = key.endswith("-bin")
    grpclib.metadata.encode_metadata({key: b"" if binary else "value"})  # the key may not be one
    return _encode_name(key), binary


def _encode_field(name: str, value: str) -> bytes:
    indexed = _INDEXED.get((name, value))
    if indexed is not None:
        return indexed
    data = value.encode("ascii")
    return _encode_name(name) + _integer(len(data), 7) + data


#: Fields that a proxy must not keep in a table either (RFC 7541, section 7.1.3).
_SENSITIVE: Final = frozenset(["authorization", "cookie", "proxy-authorization", "set-cookie"])


@lru_cache(maxsize=256)
def _encode_name(name: str) -> bytes:
    """Return the start of a literal (RFC 7541, sections 6.2.2 and 6.2.3)."""
    first = 0x10 if name in _SENSITIVE else 0
    index = _NAMES.get(name)
    if index is None:
        data = name.encode("ascii")
        return bytes([first]) + _integer(len(data), 7) + data
    return _integer(index, 4, first)


def _integer(value: int, bits: int, first: int = 0) -> bytes:
    """Return an integer with a prefix of so many bits (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    data = bytearray([first | most])
    value -= most
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)


#: RFC 7541, appendix A: fields as one byte, and the first index of each name.
_INDEXED: Final = {
    (name.decode(), value.decode()): bytes([0x80 | index])
    for index, (name, value) in enumerate(HeaderTable.STATIC_TABLE, 1)
    if value
}
_NAMES: Final = {
    name.decode(): index
    for index, (name, _) in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))
}

#: Says that this side's table is empty, after the peer has made its own smaller (RFC 7541, 4.2).
EMPTY_TABLE: Final = b"\x20"
