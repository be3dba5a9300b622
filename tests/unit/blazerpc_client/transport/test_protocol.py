"""Calls over loopback, our streams on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

import pytest
from grpclib.const import Cardinality, Status
from grpclib.events import (
    RecvInitialMetadata,
    RecvMessage,
    RecvRequest,
    RecvTrailingMetadata,
    SendInitialMetadata,
    SendMessage,
    SendRequest,
    SendTrailingMetadata,
    listen,
)
from grpclib.exceptions import GRPCError, StreamTerminatedError

from blazerpc_client.transport import frames
from blazerpc_client.transport.limits import Limits, Pace
from blazerpc_client.transport.stream import UnprocessedError
from tests.unit.blazerpc_client.transport.peers import REQUEST, data, frame, frames_in, request
from tests.unit.blazerpc_client.transport.servers import (
    PATIENCE,
    channel_to,
    echo,
    serving,
    stream_of,
    unary,
    until,
)

SMALL = Limits(stream_window=100, connection_window=65535)
BIG = Limits(max_receive_message=1 << 26)


@pytest.mark.parametrize("size", [0, 1, 8192, 8193, 16384, 65536, 600_000, 5_000_000])
@pytest.mark.parametrize("windows", ["usual", "small"])
async def test_messages_of_any_size_come_back(size: int, windows: str) -> None:
    limits = BIG
    if windows == "small":
        limits = dataclasses.replace(BIG, stream_window=1000, connection_window=65535)
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    async with serving(echo, limits) as server, channel_to(server, limits) as channel:
        assert await unary(channel, message) == message


async def test_many_calls_at_once_and_more_than_are_allowed_at_once() -> None:
    limits = Limits(max_concurrent_streams=10)
    async with serving(echo, limits) as server, channel_to(server) as channel:
        await unary(channel, b"the limit is known after the first answer")
        calls = [unary(channel, str(number).encode()) for number in range(200)]
        assert await asyncio.gather(*calls) == [str(n).encode() for n in range(200)]
        assert len(server.protocols) == 1
        assert server.protocols[0].in_flight == 0
        assert server.handlers[0].check_closed()


async def test_messages_and_their_calls_share_one_write() -> None:
    writes: list[int] = []
    async with serving(echo) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        protocol = server.protocols[0]
        transport: Any = protocol._transport

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(transport, name)

            def write(self, data: bytes) -> None:
                writes.append(len(frames_in(data)))
                transport.write(data)

        vars(protocol)["_transport"] = Counting()
        await asyncio.gather(*(unary(channel, b"a") for _ in range(50)))
    # Headers, message and trailers of all fifty, in a few turns of the loop.
    assert sum(writes) >= 150
    assert len(writes) <= 5


async def test_a_stream_both_ways() -> None:
    async with serving(echo) as server, channel_to(server) as channel:
        call = channel.request("/t.T/SS", Cardinality.STREAM_STREAM, bytes, bytes)
        async with call:
            for number in range(20):
                await call.send_message(bytes([number]) * number, end=number == 19)
                answer = await call.recv_message()
                assert answer == bytes([number]) * number
            assert await call.recv_message() is None


async def test_a_slow_reader_stops_a_fast_sender() -> None:
    sent = 0

    async def flood(call: Any) -> None:
        nonlocal sent
        await call.recv_message()
        for _ in range(1000):
            await call.send_message(bytes(10_000))
            sent += 1

    limits = Limits(stream_window=100_000)
    async with serving(flood) as server, channel_to(server, limits) as channel:
        call = channel.request("/t.T/US", Cardinality.UNARY_STREAM, bytes, bytes)
        async with call:
            await call.send_message(b"", end=True)
            await call.recv_message()
            stream = stream_of(call)
            before = -1
            while before != sent:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.05)
            assert sent < 50
            assert stream._held <= 100_000
            received = 1
            while await call.recv_message() is not None:
                received += 1
            assert received == sent == 1000


@pytest.mark.parametrize("size", [1000, 10_000])  # one that is held for its trailers, one not
async def test_a_window_that_never_opens_ends_the_call_and_not_the_others(size: int) -> None:
    begun = asyncio.Event()

    async def answer(call: Any) -> None:
        if await call.recv_message() == b"much":
            begun.set()
            await call.send_message(bytes(size))
        else:
            await call.send_message(b"little")

    limits = Limits(stall_timeout=0.05)
    async with serving(answer, limits) as server, channel_to(server, SMALL) as channel:
        await unary(channel, b"little")

        async def much() -> None:
            call = channel.request("/t.T/UU", Cardinality.UNARY_UNARY, bytes, bytes)
            async with call:
                await call.send_message(b"much", end=True)
                await begun.wait()
                await until(lambda: not server.protocols[0].in_flight)  # nobody reads the answer
                assert await unary(channel, b"little") == b"little"

        with pytest.raises(StreamTerminatedError, match="CANCEL"):
            await much()
        assert server.protocols[0].in_flight == 0


# Limits of messages, and compression.


@pytest.mark.parametrize("side", ["server", "client"])
async def test_a_message_too_large_is_refused_and_the_connection_goes_on(side: str) -> None:
    small = Limits(max_receive_message=1000)
    limits = (small, None) if side == "server" else (None, small)
    async with serving(echo, limits[0]) as server, channel_to(server, limits[1]) as channel:
        with pytest.raises(GRPCError, match="1001 bytes came, 1000 are allowed") as error:
            await unary(channel, bytes(1001))
        assert error.value.status is Status.RESOURCE_EXHAUSTED
        assert await unary(channel, bytes(1000)) == bytes(1000)
        await until(lambda: not server.protocols[0].in_flight)
        assert len(server.protocols) == 1


async def test_a_message_too_large_to_send_is_refused() -> None:
    limits = Limits(max_send_message=10)
    async with serving(echo, limits) as server, channel_to(server) as channel:
        with pytest.raises(GRPCError, match="10 are allowed"):
            await unary(channel, bytes(11))
        assert await unary(channel, bytes(10)) == bytes(10)


async def test_answers_are_compressed_when_that_is_asked_for() -> None:
    async with serving(echo, compression="gzip") as server, channel_to(server) as channel:
        call = channel.request("/t.T/UU", Cardinality.UNARY_UNARY, bytes, bytes)
        async with call:
            await call.send_message(bytes(10_000), end=True)
            assert await call.recv_message() == bytes(10_000)
            assert ("grpc-encoding", "gzip") in (stream_of(call).headers or ())


# grpclib's own: events, metadata, deadlines, cancellation.


async def test_events_are_dispatched_on_both_sides() -> None:
    seen: list[str] = []

    async def note(event: Any) -> None:
        seen.append(type(event).__name__)
        if isinstance(event, SendInitialMetadata | SendTrailingMetadata):
            event.metadata["by"] = type(event).__name__

    received: list[str] = []

    async def read(event: Any) -> None:
        received.append(event.metadata.get("by"))

    async with serving(echo) as server, channel_to(server) as channel:
        for kind in (RecvRequest, RecvMessage, SendInitialMetadata, SendMessage):
            listen(server, kind, note)
        listen(server, SendTrailingMetadata, note)
        listen(channel, SendRequest, note)
        listen(channel, RecvInitialMetadata, read)
        listen(channel, RecvTrailingMetadata, read)
        await unary(channel, b"a")
    assert seen == [
        "SendRequest",
        "RecvRequest",
        "RecvMessage",
        "SendInitialMetadata",
        "SendMessage",
        "SendTrailingMetadata",
    ]
    assert received == ["SendInitialMetadata", "SendTrailingMetadata"]


async def test_metadata_goes_both_ways() -> None:
    async def answer(call: Any) -> None:
        await call.recv_message()
        await call.send_initial_metadata(metadata={"first": call.metadata["token"]})
        await call.send_message(call.metadata["raw-bin"])
        await call.send_trailing_metadata(metadata={"last-bin": b"\xff\0"})

    async with serving(answer) as server, channel_to(server) as channel:
        metadata: dict[str, str | bytes] = {"token": "a b", "raw-bin": b"\0\1\2"}
        call = channel.request("/t.T/UU", Cardinality.UNARY_UNARY, bytes, bytes, metadata=metadata)
        async with call:
            await call.send_message(b"", end=True)
            assert await call.recv_message() == b"\0\1\2"
        assert call.initial_metadata is not None
        assert call.initial_metadata["first"] == "a b"
        assert call.trailing_metadata is not None
        assert call.trailing_metadata["last-bin"] == b"\xff\0"


async def test_a_deadline_ends_the_handler_and_the_call() -> None:
    interrupted = asyncio.Event()

    async def wait(call: Any) -> None:
        assert 0 < call.deadline.time_remaining() <= 0.1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            interrupted.set()
            raise

    async with serving(wait) as server, channel_to(server) as channel:
        with pytest.raises((TimeoutError, GRPCError)):
            await unary(channel, b"", timeout=0.1)
        async with asyncio.timeout(PATIENCE):
            await interrupted.wait()
        await until(lambda: not server.protocols[0].in_flight)


async def test_a_call_that_is_cancelled_cancels_its_handler() -> None:
    began, interrupted = asyncio.Event(), asyncio.Event()

    async def wait(call: Any) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            interrupted.set()
            raise

    async with serving(wait) as server, channel_to(server) as channel:
        task = asyncio.create_task(unary(channel, b""))
        await began.wait()
        task.cancel()
        async with asyncio.timeout(PATIENCE):
            await interrupted.wait()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.handlers[0].check_closed())
        assert server.protocols[0].in_flight == 0


async def test_calls_in_flight_fail_when_the_connection_is_lost() -> None:
    began = asyncio.Event()

    async def wait(call: Any) -> None:
        began.set()
        await asyncio.sleep(60)

    async with serving(wait) as server, channel_to(server) as channel:
        task = asyncio.create_task(unary(channel, b""))
        await began.wait()
        transport: Any = server.protocols[0]._transport
        transport.abort()
        with pytest.raises(StreamTerminatedError):
            await task
        await until(lambda: server.handlers[0].check_closed())


# Drain and GOAWAY.


async def test_a_drain_lets_calls_finish_and_the_next_goes_over_a_new_connection() -> None:
    began, let_go = asyncio.Event(), asyncio.Event()

    async def held(call: Any) -> None:
        message = await call.recv_message()
        if message == b"held":
            began.set()
            await let_go.wait()
        await call.send_message(message)

    async with serving(held) as server, channel_to(server) as channel:
        task = asyncio.create_task(unary(channel, b"held"))
        await began.wait()
        server.protocols[0].drain()
        await until(lambda: not channel._connected)
        assert await unary(channel, b"next") == b"next"
        assert len(server.protocols) == 2
        assert not server.protocols[0].is_closing()
        let_go.set()
        assert await task == b"held"
        await until(lambda: server.protocols[0].is_closing())
        assert await unary(channel, b"last") == b"last"
        assert len(server.protocols) == 2


async def test_a_connection_without_calls_is_closed_by_a_drain() -> None:
    async with serving(echo) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        server.protocols[0].drain()
        await until(lambda: server.protocols[0].is_closing())


async def test_a_request_that_comes_with_the_answer_to_the_drains_ping_is_served() -> None:
    async with serving(echo) as server, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frames.PREFACE + frames.settings({}))
        await until(lambda: bool(server.protocols))
        server.protocols[0].drain()
        said = b""
        while not (pings := [f for f in frames_in(said) if f[0] == frames.FrameType.PING]):
            said += await reader.read(1 << 16)
        # In one piece, as what a client sends in one go may be read.
        message = data(1, b"\0\0\0\0\1a", end=True)
        fields = tuple((name, "/t.T/UU" if name == ":path" else value) for name, value in REQUEST)
        writer.write(frames.ping(pings[0][3], ack=True) + request(1, fields) + message)
        said = await reader.read()
        goodbyes = [f for f in frames_in(said) if f[0] == frames.FrameType.GOAWAY]
        assert [frames.read_goaway(memoryview(f[3]))[0] for f in goodbyes] == [1]
        answers = [f[3] for f in frames_in(said) if f[0] == frames.FrameType.DATA]
        assert answers == [b"\0\0\0\0\1a"]
        writer.close()
        await writer.wait_closed()


async def test_what_a_client_writes_before_it_reads_the_goodbye_meets_no_closed_socket() -> None:
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frames.PREFACE + frames.settings({}) + request(1, end=True))
        async with asyncio.timeout(PATIENCE):
            said = await reader.readuntil(b"grpc-status")
        await until(lambda: not server.protocols[0].in_flight)
        server.protocols[0].drain()
        server.protocols[0]._goodbye()  # as when its ping is answered
        async with asyncio.timeout(PATIENCE):
            said += await reader.read()
            assert [kind for kind, *_ in frames_in(said)].count(7) == 2
            for stream_id in range(3, 23, 2):  # a closed socket resets at the first of them
                writer.write(request(stream_id, end=True))
                await writer.drain()
                await asyncio.sleep(0.001)
        assert not server.protocols[0].in_flight
        assert not server.protocols[0].is_closing()
        async with asyncio.timeout(PATIENCE):
            await until(server.protocols[0].is_closing)  # it does not wait for ever
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_request_on_a_connection_that_has_ended_may_be_sent_again() -> None:
    async with serving(echo) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        protocol: Any = channel._protocol
        stream = protocol.create_stream()
        protocol.close()
        with pytest.raises(UnprocessedError):
            await stream.open(REQUEST, end_stream=True)


async def test_those_who_wait_for_a_free_stream_hear_of_the_end() -> None:
    async def wait(call: Any) -> None:
        await asyncio.sleep(60)

    limits = Limits(max_concurrent_streams=1)
    async with serving(wait, limits) as server, channel_to(server) as channel:
        first = asyncio.create_task(unary(channel, b""))
        await until(lambda: bool(server.protocols) and server.protocols[0].in_flight == 1)
        second = asyncio.create_task(unary(channel, b""))
        await asyncio.sleep(0)
        server.protocols[0].close()
        errors = await asyncio.gather(first, second, return_exceptions=True)
        assert isinstance(errors[0], StreamTerminatedError)
        assert isinstance(errors[1], UnprocessedError)


# Timers.


async def test_a_client_that_says_nothing_is_hung_up_on() -> None:
    async with serving(echo, Limits(handshake_timeout=0.05)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(PATIENCE):
            await reader.read()
        writer.close()
        await writer.wait_closed()
        assert server.protocols[0].is_closing()


async def test_a_connection_that_nobody_uses_is_closed() -> None:
    async with serving(echo, Limits(idle_timeout=0.05)) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        await until(lambda: server.protocols[0].is_closing())
        assert await unary(channel, b"b") == b"b"
        assert len(server.protocols) == 2


async def test_a_connection_is_closed_in_time_after_a_call_that_lasted_longer() -> None:
    async def slow(call: Any) -> None:
        message = await call.recv_message()
        await asyncio.sleep(0.2)
        await call.send_message(message)

    async with serving(slow, Limits(idle_timeout=0.05)) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        await until(lambda: server.protocols[0].is_closing())


async def test_a_peer_that_answers_no_ping_is_hung_up_on() -> None:
    limits = Limits(keepalive_time=0.05, keepalive_timeout=0.05)
    async with serving(echo, limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(frames.PREFACE + frames.settings({}))
        async with asyncio.timeout(PATIENCE):
            said = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert frames.FrameType.PING in [kind for kind, *_ in frames_in(said)]
        assert server.protocols[0].is_closing()


async def test_a_peer_that_answers_pings_stays() -> None:
    limits = Limits(keepalive_time=0.02, keepalive_timeout=0.05)
    async with serving(echo, limits) as server, channel_to(server) as channel:
        await unary(channel, b"a")
        await asyncio.sleep(0.3)
        assert await unary(channel, b"a") == b"a"
        assert len(server.protocols) == 1


# Abuse: whoever breaks the rules is told why and hung up on, others are served.

HELLO = frames.PREFACE + frames.settings({4: 0x7FFFFFFF}) + frames.window_update(0, 0x7FFF0000)


async def test_a_client_of_endless_windows_that_does_not_read_takes_little_memory() -> None:
    sent = 0

    async def flood(call: Any) -> None:
        nonlocal sent
        while True:
            await call.send_message(bytes(10_000))
            sent += 1

    async with serving(flood) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        path = ((":path", "/t.T/US"),)
        writer.write(HELLO + request(1, (*REQUEST[:2], *path, *REQUEST[3:])))
        await until(lambda: bool(server.protocols) and not server.protocols[0].can_write)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        transport: Any = server.protocols[0]._transport
        assert transport.get_write_buffer_size() < 2 << 20
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: server.handlers[0].check_closed())


@pytest.mark.parametrize("last", [b"", frames.window_update(0, 0)], ids=["silent", "a fault"])
async def test_a_peer_that_does_not_read_in_time_is_hung_up_on(last: bytes) -> None:
    async def flood(call: Any) -> None:
        while True:
            await call.send_message(bytes(10_000))

    async with serving(flood, Limits(stall_timeout=0.2)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        path = ((":path", "/t.T/US"),)
        writer.write(HELLO + request(1, (*REQUEST[:2], *path, *REQUEST[3:])))
        await until(lambda: bool(server.protocols) and not server.protocols[0].can_write)
        writer.write(last)
        transport: Any = server.protocols[0]._transport
        # What is left to send would keep the socket for as long as the client likes.
        await until(lambda: transport.get_extra_info("socket").fileno() == -1)
        await until(lambda: server.handlers[0].check_closed())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_a_peer_that_reads_again_is_waited_for_anew() -> None:
    async with serving(echo) as server, channel_to(server) as channel:
        assert await unary(channel, b"a") == b"a"
        protocol: Any = server.protocols[0]
        protocol.pause_writing()
        assert protocol._stall is not None
        protocol.resume_writing()
        assert protocol._stall is None
        protocol.pause_writing()
        protocol.close()
        await until(lambda: protocol._stall is None)


@pytest.mark.parametrize("path", ["/t.T/UU", "/t.T/None"])
async def test_requests_that_come_together_with_their_reset_leave_nothing(path: str) -> None:
    fields = (*REQUEST[:2], (":path", path), *REQUEST[3:])
    pairs = [request(n, fields) + frames.rst_stream(n, 8) for n in range(1, 400, 2)]
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HELLO + b"".join(pairs) + frame(6, 0, 0, bytes(8)))
        said = b""
        async with asyncio.timeout(PATIENCE):
            while frames.ping(bytes(8), ack=True) not in said:
                said += await reader.read(1 << 16)
        await until(lambda: server.handlers[0].check_closed())
        assert server.protocols[0].in_flight == 0
        assert not server.protocols[0].is_closing()
        writer.close()
        await writer.wait_closed()


async def test_a_connection_that_fails_together_with_requests_leaves_nothing() -> None:
    fields = (*REQUEST[:2], (":path", "/t.T/None"), *REQUEST[3:])
    raw = request(1) + request(3, fields) + frames.window_update(0, 0)
    async with serving(echo) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HELLO + raw)
        async with asyncio.timeout(PATIENCE):
            said = await reader.read()
        assert frames_in(said)[-1][0] == frames.FrameType.GOAWAY
        await until(lambda: server.handlers[0].check_closed())
        assert server.protocols[0].in_flight == 0
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_never_reads_its_answers_is_given_up() -> None:
    async with serving(echo, Limits(max_concurrent_streams=1 << 20)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(HELLO)
        stream_id = 1
        with contextlib.suppress(ConnectionError):
            while not server.protocols or not server.protocols[0].is_closing():
                for _ in range(1000):
                    writer.write(request(stream_id, end=True))
                    stream_id += 2
                await writer.drain()
                await asyncio.sleep(0)
        # Forty bytes and more for each of the answers: they were not kept for ever.
        assert stream_id < 5_000_000
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert not server.protocols[0].in_flight


FLOODS = {
    "no HTTP/2": b"GET / HTTP/1.1\r\n\r\n",
    "pings": frames.PREFACE + frames.settings({}) + frame(6, 0, 0, bytes(8)) * 100,
    "settings": frames.PREFACE + frames.settings({}) * 100,
    "a frame too large": frames.PREFACE + frames.settings({}) + frames.head(1 << 23, 1, 4, 1),
}


@pytest.mark.parametrize("raw", FLOODS.values(), ids=FLOODS)
async def test_abuse_ends_its_connection_and_leaves_nothing(raw: bytes) -> None:
    limits = Limits(pings=Pace(10, 1), settings=Pace(10, 1))
    before = asyncio.all_tasks()
    async with serving(echo, limits) as server, channel_to(server) as channel:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw)
        async with asyncio.timeout(PATIENCE):
            said = await reader.read()
        assert frames_in(said)[-1][0] == frames.FrameType.GOAWAY
        writer.close()
        await writer.wait_closed()
        assert await unary(channel, b"a") == b"a"
        assert server.protocols[0].is_closing()
        assert server.protocols[0].in_flight == 0
    assert asyncio.all_tasks() == before
