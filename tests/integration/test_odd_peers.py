"""Peers that do what HTTP/2 allows and few do: frames of a byte, padding, CONTINUATION, priorities.

They are h2, over a real socket; as strict as it is about what it gets, ours is correct.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from grpclib.const import Cardinality

from tests.conftest import ServerProcess
from tests.integration.attackers import PATIENCE, first_field, harmless, message
from tests.unit.blazerpc_client.transport.servers import channel_to, unary

ECHO = "/blazerpc.InferenceService/PredictEcho"
REQUEST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", ECHO),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("x-long", "b" * 300),
]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc"), ("x-long", "b" * 300)]
TRAILERS = [("grpc-status", "0"), ("x-long", "c" * 300)]

#: Bytes of a header block for each frame of it: the rest comes in CONTINUATIONs.
BLOCK = 40


class Odd:
    """h2, and how it sends."""

    def __init__(self, sock: socket.socket, *, client: bool, window: int) -> None:
        config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config)
        self._sock = sock
        self.connection.initiate_connection()
        # From when it is answered: what is on its way before that fills the usual window.
        code = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE
        self.connection.update_settings({code: window})
        self.flush()

    def flush(self) -> None:
        self._sock.sendall(self.connection.data_to_send())

    def hear(self) -> list[h2.events.Event]:
        """Return what came; give each window back by as little as came."""
        raw = self._sock.recv(1 << 16)
        events = self.connection.receive_data(raw)
        if not raw:
            events.append(h2.events.ConnectionTerminated())
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                count = event.flow_controlled_length
                self.connection.acknowledge_received_data(count, event.stream_id)
        self.flush()
        return events

    def send_fields(self, stream_id: int, fields: list[tuple[str, str]], *, end: bool) -> None:
        if self.connection.config.client_side:
            # What the stream begins with is its own.
            usual, self.connection.max_outbound_frame_size = (
                self.connection.max_outbound_frame_size,
                BLOCK,
            )
            self.connection.prioritize(stream_id, weight=200)
            self.connection.send_headers(stream_id, fields, end)
            self.connection.max_outbound_frame_size = usual
            self.connection.prioritize(stream_id + 2, weight=1, depends_on=stream_id)
        else:
            self.connection.streams[stream_id].max_outbound_frame_size = BLOCK
            self.connection.send_headers(stream_id, fields, end)
        self.flush()

    def send_body(self, stream_id: int, body: bytes) -> None:
        """Send each byte in a frame of its own, each with padding of another length."""
        for place, byte in enumerate(body):
            while self.connection.local_flow_control_window(stream_id) < 300:
                self.hear()
            self.connection.send_data(stream_id, bytes([byte]), pad_length=place % 256)
            self.flush()


@pytest.mark.parametrize("window", [1, 100, 65_535])
@pytest.mark.parametrize("size", [0, 1, 1000])
async def test_an_odd_client_is_served(wire: ServerProcess, window: int, size: int) -> None:
    body = message(first_field(b"a" * size) if size else b"")

    def call() -> tuple[bytes, list[tuple[str, str]]]:
        data, trailers = b"", [("", "")]
        with socket.create_connection(("127.0.0.1", wire.port), timeout=PATIENCE) as sock:
            odd = Odd(sock, client=True, window=window)
            odd.send_fields(1, REQUEST, end=False)
            odd.send_body(1, body)
            odd.connection.end_stream(1)
            odd.flush()
            while True:
                for event in odd.hear():
                    assert not isinstance(
                        event, h2.events.StreamReset | h2.events.ConnectionTerminated
                    ), event
                    if isinstance(event, h2.events.DataReceived):
                        assert len(event.data) <= window
                        data += event.data
                    if isinstance(event, h2.events.TrailersReceived):
                        trailers = [(str(name), str(value)) for name, value in event.headers]
                    if isinstance(event, h2.events.StreamEnded):
                        return data, trailers

    async with harmless(wire):
        data, trailers = await asyncio.to_thread(call)
    assert data == body
    assert ("grpc-status", "0") in trailers


@contextmanager
def odd_server(window: int) -> Iterator[int]:
    """Echo what one connection's calls send."""

    def serve(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        bodies: dict[int, bytes] = {}
        with sock:
            sock.settimeout(PATIENCE)
            odd = Odd(sock, client=False, window=window)
            while True:
                for event in odd.hear():
                    match event:
                        case h2.events.ConnectionTerminated():
                            return
                        case h2.events.DataReceived():
                            assert event.stream_id is not None
                            bodies[event.stream_id] = bodies.get(event.stream_id, b"") + event.data
                        case h2.events.StreamEnded():
                            stream_id = event.stream_id
                            odd.send_fields(stream_id, RESPONSE, end=False)
                            odd.send_body(stream_id, bodies.pop(stream_id))
                            odd.send_fields(stream_id, TRAILERS, end=True)
                        case _:
                            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("window", [1, 100, 65_535])
async def test_we_call_an_odd_server(window: int) -> None:
    with odd_server(window) as port:
        async with channel_to(port) as channel:
            for size in (0, 1, 1000):
                assert await unary(channel, b"a" * size, timeout=PATIENCE) == b"a" * size
            call = channel.request("/t.T/SS", Cardinality.STREAM_STREAM, bytes, bytes)
            async with call:
                for number in range(10):
                    await call.send_message(bytes([number]), end=number == 9)
                assert [bytes(each) async for each in call] == [bytes([n]) for n in range(10)]
                await call.recv_trailing_metadata()
                assert call.trailing_metadata is not None
                assert call.trailing_metadata["x-long"] == "c" * 300
