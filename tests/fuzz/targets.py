"""What a fuzzer calls with bytes: each target raises for what must not be, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Final

import hpack
from grpclib.exceptions import GRPCError

from blazerpc_client.transport.errors import ConnectionFault, StreamFault
from blazerpc_client.transport.events import ConnectionFailed
from blazerpc_client.transport.headers import BlockDecoder, Fields
from blazerpc_client.transport.messages import GZIP, IDENTITY, MessageReader, frame
from tests.fuzz.conversation import Conversation
from tests.fuzz.script import Script
from tests.unit.blazerpc_client.transport.peers import (
    connected,
    cut,
    drive,
    frames_in,
    joined,
    sent,
)

#: Of a header list and of a message; small, so that it is reached.
_LIMIT: Final = 1000

#: A list beyond the limit ends its stream, one beyond that the connection.
_HARD: Final = 4

_NAMES: Final = ("some", "names", "of", "regular", "fields")

#: Bytes of a GOAWAY, its text included.
_GOAWAY: Final = 200


def frames(data: bytes) -> None:
    """Any frames, for either role: cut anywhere they mean the same, and answers are bounded."""
    script = Script(data)
    client, step = bool(script.byte() & 1), 1 + script.byte()
    raw = script.rest()
    whole, pieces = connected(client), connected(client)
    heard = drive(whole, raw, max(1, len(raw)))
    assert joined(drive(pieces, raw, step)) == joined(heard)
    answer = sent(whole)
    # Most answers are resets: 13 bytes for a frame of 9 at least.
    assert len(answer) <= 2 * len(raw) + _GOAWAY + 17 * len(heard)
    said = [each for each in frames_in(answer) if each[0] != 6]
    assert [each for each in frames_in(sent(pieces)) if each[0] != 6] == said
    failed = [event for event in heard if isinstance(event, ConnectionFailed)]
    assert [kind for kind, *_ in said].count(7) == len(failed) <= 1
    if failed:
        assert whole.open_streams == pieces.open_streams == 0


def _accept(fields: Fields) -> None:
    """Take any: which fields make a request is another matter."""


def header_blocks(data: bytes) -> None:
    """Blocks of one connection mean what they mean to the decoder alone, or are refused."""
    script = Script(data)
    decoder = BlockDecoder(_LIMIT)
    encoder = hpack.Encoder()
    plain = hpack.Decoder(max_header_list_size=_HARD * _LIMIT)
    while script.more:
        choice = script.byte()
        # Mostly what a peer would send: few fields, which are in its table the next time.
        if choice % 8:
            names = _NAMES[choice % 5 : choice % 5 + choice % 3]
            block = encoder.encode([(name, str(script.byte() % 2)) for name in names])
        else:
            block = script.piece()
        try:
            fields = decoder.decode(block, _accept).fields
        except StreamFault:
            plain.decode(block, raw=True)
            continue
        except ConnectionFault:
            return
        expected = plain.decode(block, raw=True)
        assert [(name.encode(), value.encode()) for name, value in fields] == list(expected)
        assert sum(len(name) + len(value) + 32 for name, value in fields) <= _LIMIT


def messages(data: bytes) -> None:
    """Messages cut anywhere are what was sent, and none is larger than allowed."""
    script = Script(data)
    choice, step = script.byte(), 1 + script.byte()
    encoding = GZIP if choice & 1 else IDENTITY
    given: list[bytes] = []
    raw = b""
    for _ in range(choice >> 4):
        given.append(script.piece() * (1 + script.byte() % 8))
        raw += b"".join(frame(given[-1], len(given[-1]), encoding))
    raw += script.rest()
    found, fault = _read(raw, max(1, len(raw)), encoding)
    assert _read(raw, step, encoding) == (found, fault)
    good = list(takewhile(lambda message: len(message) <= _LIMIT, given))
    assert found[: len(good)] == good


def _read(raw: bytes, step: int, encoding: str) -> tuple[list[bytes], str]:
    """Return the messages, and what was wrong after them."""
    reader = MessageReader(_LIMIT, encoding)
    found: list[bytes] = []
    fault = ""
    for piece in cut(raw, step):
        try:
            reader.feed(memoryview(piece))
        except GRPCError as error:
            fault = str(error)
            break
    while reader.messages:
        try:
            found.append(bytes(reader.take()))
        except GRPCError as error:
            return found, str(error)
        assert len(found[-1]) <= _LIMIT
    return found, fault


def conversation(data: bytes) -> None:
    """Our end and h2's do whatever is legal, until bytes are corrupted on their way to ours."""
    Conversation(Script(data)).run()


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target for target in (frames, header_blocks, messages, conversation)
}
