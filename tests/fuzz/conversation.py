"""Our end of a connection and h2's, doing what a script says."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import h2.events
import h2.settings
from h2.stream import H2Stream
from h2.stream import StreamState as Theirs

from blazerpc_client.transport.connection import Connection
from blazerpc_client.transport.errors import (
    ConnectionClosed,
    ErrorCode,
    StreamClosed,
    TooManyStreams,
)
from blazerpc_client.transport.events import ConnectionFailed, DataReceived, HeadersReceived
from blazerpc_client.transport.headers import Fields, encode
from blazerpc_client.transport.limits import Limits, Pace
from blazerpc_client.transport.windows import MAX_WINDOW
from tests.fuzz.script import Script
from tests.unit.blazerpc_client.transport.peers import (
    REQUEST,
    RESPONSE,
    TRAILERS,
    cut,
    frames_in,
    h2_peer,
    sent,
)

_ANY: Final = Pace(1 << 30, 1)

#: What a script may do at any pace is no flood.
_LIMITS: Final = Limits(
    stream_window=20_000,
    connection_window=70_000,
    max_concurrent_streams=5,
    settings=_ANY,
    pings=_ANY,
    resets=_ANY,
    idle_frames=_ANY,
    stream_errors=_ANY,
    max_ping_strikes=1 << 20,
)

_MORE: Final = (("trace", "a" * 100), ("some-bin", "AA"))

#: States in which h2 may send.
_TALKING: Final = (Theirs.OPEN, Theirs.HALF_CLOSED_REMOTE)


class Conversation:
    """As long as nothing is corrupted neither end finds a fault with the other."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._client = bool(script.byte() & 1)
        self._ours = Connection(client=self._client, limits=_LIMITS)
        self._theirs = h2_peer(client=not self._client)
        self._streams: list[int] = []
        #: Those whose answers have begun.
        self._said: set[int] = set()
        self._unread: dict[int, int] = {}
        #: Whether we have answered what settings h2 has sent.
        self._settled = False
        self._corrupted = False
        self._failed = False
        #: Bytes on their way to us.
        self._coming = b""
        self._steps: list[Callable[[], object]] = [
            self._carry_to_us,
            self._carry_to_them,
            self._begin,
            self._we_say,
            self._we_send,
            self._we_send_small,
            self._we_end,
            self._we_reset,
            self._we_read,
            self._we_ping,
            self._they_answer,
            self._they_send,
            self._they_end,
            self._they_reset,
            self._they_ping,
            self._they_set,
            self._they_open_windows,
            self._they_prefer,
            self._corrupt,
        ]

    def run(self) -> None:
        self._carry()
        while self._script.more and not self._failed:
            # What corrupted bytes make us say, h2 need not bear.
            allowed = self._steps[:1] + self._steps[3:10] if self._corrupted else self._steps
            allowed[self._script.byte() % len(allowed)]()
            self._check()
        self._finish()

    def _finish(self) -> None:
        self._carry()
        for stream_id in self._streams:
            self._ours.reset(stream_id, ErrorCode.CANCEL)
        if not self._corrupted:
            self._carry()
            assert not self._failed
            assert self._theirs.open_inbound_streams == self._theirs.open_outbound_streams == 0
        if not self._corrupted or self._failed:
            assert self._ours.open_streams == 0
        self._ours.goodbye()
        frames_in(sent(self._ours).removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))

    def _check(self) -> None:
        ours = self._ours
        assert 0 <= ours._window.size <= MAX_WINDOW
        for stream in ours._streams.values():
            # Below zero only by a smaller SETTINGS_INITIAL_WINDOW_SIZE (RFC 9113, section 6.9.2).
            assert -MAX_WINDOW <= stream.send.size <= MAX_WINDOW
        assert ours.open_streams <= len(self._streams)
        if self._failed:
            assert ours.open_streams == 0

    # Carrying.

    def _carry(self) -> None:
        """Carry all, until both are silent."""
        if self._corrupted:
            self._carry_to_us()
            return
        while True:
            self._carry_to_us()
            if not self._carry_to_them():
                return

    def _carry_to_us(self) -> None:
        self._coming += self._theirs.data_to_send()
        coming, self._coming = self._coming, b""
        for piece in cut(coming, 1 + self._script.number() % 5000):
            for event in self._ours.receive(piece, 0):
                match event:
                    case ConnectionFailed():
                        assert self._corrupted, event
                        self._failed = True
                    case HeadersReceived() if not self._client:
                        self._streams.append(event.stream_id)
                    case DataReceived():
                        unread = self._unread.get(event.stream_id, 0)
                        self._unread[event.stream_id] = unread + len(event.data)
                    case _:
                        pass

    def _carry_to_them(self) -> bool:
        said = sent(self._ours)
        for piece in cut(said, 1 + self._script.number() % 5000):
            for event in self._theirs.receive_data(piece):
                if isinstance(event, h2.events.SettingsAcknowledged):
                    self._settled = True
        return bool(said)

    def _corrupt(self) -> None:
        """Change what is on its way, or put something in between."""
        self._corrupted = True
        self._coming += self._theirs.data_to_send()
        place = self._script.number() % (len(self._coming) + 1)
        piece = self._script.piece()
        skipped = place + (len(piece) if self._script.byte() & 1 else 0)
        self._coming = self._coming[:place] + piece + self._coming[skipped:]

    # Our end.

    def _stream(self) -> int:
        number = self._script.byte()
        return self._streams[number % len(self._streams)] if self._streams else 1

    def _begin(self) -> None:
        """Begin a request, whichever end is the client."""
        if self._client:
            block, end = encode(self._fields(REQUEST)), self._end_stream()
            with suppress(TooManyStreams, ConnectionClosed):
                self._streams.append(self._ours.open(block, end))
        elif (
            self._theirs.open_outbound_streams < self._theirs.remote_settings.max_concurrent_streams
        ):
            stream_id = self._theirs.get_next_available_stream_id()
            fields = list(self._fields(REQUEST))
            self._theirs.send_headers(stream_id, fields, end_stream=self._end_stream())

    def _fields(self, fields: Fields) -> Fields:
        return (*fields, *_MORE) if self._script.byte() & 1 else fields

    def _end_stream(self) -> bool:
        return bool(self._script.byte() & 1)

    def _we_say(self) -> None:
        """Send the headers of an answer; a client has sent those of its request."""
        stream_id = self._stream()
        if not self._client and stream_id not in self._said:
            with suppress(StreamClosed):
                self._ours.send_headers(stream_id, encode(self._fields(RESPONSE)), False)
                self._said.add(stream_id)

    def _we_send(self) -> None:
        stream_id, size, end = self._stream(), self._script.number(), self._end_stream()
        # Only a client ends with data; what a server ends with are trailers.
        if self._client or stream_id in self._said:
            with suppress(StreamClosed):
                self._ours.send_data(stream_id, memoryview(bytes(size)), end and self._client)

    def _we_send_small(self) -> None:
        stream_id, size = self._stream(), self._script.byte()
        if self._client or stream_id in self._said:
            self._ours.send_small(stream_id, bytes(size))

    def _we_end(self) -> None:
        stream_id = self._stream()
        if self._client:
            with suppress(StreamClosed):
                self._ours.send_data(stream_id, memoryview(b""), True)
        elif stream_id in self._said:
            with suppress(StreamClosed):
                self._ours.send_headers(stream_id, encode(self._fields(TRAILERS)), True)
        else:
            block = encode(RESPONSE)
            self._ours.send_answer(stream_id, block, bytes(5), encode(TRAILERS))

    def _we_reset(self) -> None:
        self._ours.reset(self._stream(), ErrorCode.CANCEL)

    def _we_read(self) -> None:
        stream_id = self._stream()
        self._ours.release(stream_id, self._unread.pop(stream_id, 0))

    def _we_ping(self) -> None:
        self._ours.ping(bytes(8))

    # Their end. What h2 would not let its user do is not tried: it takes that for its own end.

    def _their_stream(self) -> H2Stream | None:
        """Return one that h2 may send data on."""
        stream_id = self._stream()
        stream = self._theirs.streams.get(stream_id)
        if stream is None or stream.state_machine.state not in _TALKING:
            return None
        return stream if stream.state_machine.headers_sent else None

    def _they_answer(self) -> None:
        stream = self._theirs.streams.get(self._stream())
        if (
            self._client
            and stream is not None
            and stream.state_machine.state in _TALKING
            and not stream.state_machine.headers_sent
        ):
            fields = list(self._fields(RESPONSE))
            self._theirs.send_headers(stream.stream_id, fields, end_stream=self._end_stream())

    def _they_send(self) -> None:
        stream = self._their_stream()
        if stream is None:
            return
        padding = self._script.byte()
        room = self._theirs.local_flow_control_window(stream.stream_id) - padding - 1
        size = min(self._script.number(), room, self._theirs.max_outbound_frame_size - padding - 1)
        if size >= 0:
            end = self._end_stream()
            self._theirs.send_data(stream.stream_id, bytes(size), end, pad_length=padding)

    def _they_end(self) -> None:
        stream = self._their_stream()
        if stream is not None:
            self._theirs.send_headers(stream.stream_id, list(TRAILERS), end_stream=True)

    def _they_reset(self) -> None:
        stream = self._theirs.streams.get(self._stream())
        if stream is not None and not stream.closed:
            self._theirs.reset_stream(stream.stream_id, ErrorCode.CANCEL)

    def _they_ping(self) -> None:
        self._theirs.ping(bytes(8))

    def _they_set(self) -> None:
        # h2 takes the answer to its first for one to all that it has sent.
        if not self._settled:
            return
        self._settled = False
        codes = h2.settings.SettingCodes
        choice = self._script.byte() % 3
        value = self._script.number()
        if choice == 0:
            self._theirs.update_settings({codes.INITIAL_WINDOW_SIZE: value})
        elif choice == 1:
            self._theirs.update_settings({codes.MAX_FRAME_SIZE: 16_384 + value})
        else:
            self._theirs.update_settings({codes.HEADER_TABLE_SIZE: value})

    def _they_open_windows(self) -> None:
        increment = 1 + self._script.number()
        if self._theirs.inbound_flow_control_window + increment <= MAX_WINDOW:
            self._theirs.increment_flow_control_window(increment)
        stream = self._theirs.streams.get(self._stream())
        if stream is not None and not stream.closed:
            self._theirs.increment_flow_control_window(increment, stream.stream_id)

    def _they_prefer(self) -> None:
        if not self._client:
            weight = 1 + self._script.byte()
            self._theirs.prioritize(1 + 2 * (self._script.byte() % 5), weight=weight)
