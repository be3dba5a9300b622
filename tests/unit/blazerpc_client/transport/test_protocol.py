"""Calls over loopback, our streams on both sides."""

from __future__ import annotations

import asyncio
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

from blazerpc_client.transport.limits import Limits
from blazerpc_client.transport.stream import Signal
from tests.unit.blazerpc_client.transport.peers import frames_in
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


# Calls that wait for a free stream.


async def test_a_free_stream_that_is_not_taken_goes_to_the_next_who_waits() -> None:
    turns = asyncio.Semaphore(0)

    async def wait(call: Any) -> None:
        await turns.acquire()
        await echo(call)

    limits = Limits(max_concurrent_streams=1)
    async with serving(wait, limits) as server, channel_to(server) as channel:
        first = asyncio.create_task(unary(channel, b"1"))
        await until(lambda: bool(server.protocols) and server.protocols[0].in_flight == 1)
        others = [asyncio.create_task(unary(channel, bytes([n]))) for n in range(3)]
        await asyncio.sleep(0)
        # It is woken and cancelled in the same turn of the loop.
        first.add_done_callback(lambda _: others[0].cancel())
        turns.release()
        assert await first == b"1"
        for _ in others:
            turns.release()
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*others, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == [b"\1", b"\2"]


async def test_one_free_stream_wakes_one_who_waits() -> None:
    signal = Signal()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await signal.wait()
        woken.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    signal.notify_one()
    await until(lambda: woken == [1])
    signal.notify_one()
    waiting[2].cancel()  # who was woken and is cancelled passes it on
    await until(lambda: woken == [1, 3])
    assert not waiting[4].done()
    signal.notify()
    await asyncio.wait(waiting)
    assert woken == [1, 3, 4]
