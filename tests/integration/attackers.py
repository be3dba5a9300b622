"""A client that means harm, and one beside it that must not notice."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psutil

from blazerpc import BlazeClient
from blazerpc_client.transport import frames
from blazerpc_client.transport.errors import ErrorCode
from blazerpc_client.transport.frames import END_HEADERS, END_STREAM, FrameType
from blazerpc_client.transport.headers import encode
from tests.apps.wire import app
from tests.conftest import ServerProcess

#: Seconds that what should happen at once may take on a loaded machine.
PATIENCE = 30.0

#: Bytes by which a server may have grown: three times what may wait on one connection.
GROWTH = 48 << 20

HELLO = frames.PREFACE + frames.settings({})


class Bystander:
    """Another client of a server, and what the server takes of the machine."""

    def __init__(self, server: ServerProcess, client: BlazeClient) -> None:
        self._process = psutil.Process(server.process.pid)
        self._client = client
        self.calls = 0

    async def call(self) -> None:
        assert await self._client.predict("echo", data=b"a") == b"a"
        self.calls += 1

    async def keep_calling(self) -> None:
        while True:
            async with asyncio.timeout(PATIENCE):
                await self.call()
            await asyncio.sleep(0.001)

    def memory(self) -> int:
        return int(self._process.memory_info().rss)

    async def left(self) -> tuple[int, int]:
        """Return how many files and tasks the server has."""
        tasks = await self._client.predict("tasks", besides=0)
        assert isinstance(tasks, int)
        return self._process.num_fds(), tasks


@asynccontextmanager
async def harmless(server: ServerProcess, *, growth: int = GROWTH) -> AsyncIterator[Bystander]:
    """Call the server all the while over another connection; at the end nothing is left."""
    async with BlazeClient("127.0.0.1", server.port, app.registry, http="blaze") as client:
        bystander = Bystander(server, client)
        await bystander.call()
        files, tasks = await bystander.left()
        memory = bystander.memory()
        caller = asyncio.create_task(bystander.keep_calling())
        before = bystander.calls
        try:
            yield bystander
            assert bystander.memory() - memory < growth
            # One that began after the harm was done, and not only those that were under way.
            await until_called(bystander, bystander.calls + 2)
        finally:
            caller.cancel()
            with suppress(asyncio.CancelledError):
                await caller
        assert bystander.calls > before
        async with asyncio.timeout(PATIENCE):
            while (left := await bystander.left()) != (files, tasks):
                assert left[0] >= files, "the bystander's connection was closed"
                await asyncio.sleep(0.01)
        assert bystander.memory() - memory < growth


async def until_called(bystander: Bystander, calls: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while bystander.calls < calls:
            await asyncio.sleep(0.001)


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return frames.head(len(payload), kind, flags, stream_id) + payload


def request(stream_id: int, model: str, *more: tuple[str, str], end: bool = False) -> bytes:
    fields = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/blazerpc.InferenceService/Predict{model}"),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        *more,
    )
    flags = END_HEADERS | (END_STREAM if end else 0)
    return frame(FrameType.HEADERS, flags, stream_id, encode(fields))


def data(stream_id: int, payload: bytes, *, end: bool = False) -> bytes:
    return frame(FrameType.DATA, END_STREAM if end else 0, stream_id, payload)


def message(body: bytes, flag: int = 0) -> bytes:
    return struct.pack(">BI", flag, len(body)) + body


def first_field(payload: bytes) -> bytes:
    """Return a message whose first field is ``payload``."""
    size, prefix = len(payload), bytearray(b"\x0a")
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*prefix, size]) + payload


class Attacker:
    """A connection that says whatever it likes."""

    def __init__(self, server: ServerProcess, *, small: bool = False) -> None:
        self._socket = socket.socket()
        if small:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(("127.0.0.1", server.port))
        self.heard = b""

    def say(self, raw: bytes) -> None:
        # Whoever is hung up on while he talks can still read what he was told.
        with suppress(ConnectionError):
            self._socket.sendall(raw)

    def listen(self) -> list[tuple[int, int, bytes]]:
        """Read until the server hangs up; return type, stream and payload of its frames."""
        with suppress(ConnectionError):
            while chunk := self._socket.recv(1 << 16):
                self.heard += chunk
        return self.frames()

    def listen_for(self, kind: int, stream_id: int) -> bytes:
        """Read until a frame of that type and stream; return its payload."""
        while True:
            for heard in self.frames():
                if heard[:2] == (kind, stream_id):
                    return heard[2]
            chunk = self._socket.recv(1 << 16)
            assert chunk, f"the server hung up after {self.frames()}"
            self.heard += chunk

    def frames(self) -> list[tuple[int, int, bytes]]:
        """Return type, stream and payload of each whole frame so far."""
        found = []
        view, position = memoryview(self.heard), 0
        while position + frames.HEAD_SIZE <= len(view):
            length, kind, _, stream_id = frames.read_head(view, position)
            position += frames.HEAD_SIZE
            if position + length > len(view):
                break
            found.append((kind, stream_id, bytes(view[position : position + length])))
            position += length
        return found

    def close(self) -> None:
        self._socket.close()


@contextmanager
def attacker(server: ServerProcess, *, small: bool = False) -> Iterator[Attacker]:
    one = Attacker(server, small=small)
    try:
        yield one
    finally:
        one.close()


def goodbye(heard: list[tuple[int, int, bytes]]) -> ErrorCode:
    """Return the error of the last frame, which is a GOAWAY."""
    kind, _, payload = heard[-1]
    assert kind == FrameType.GOAWAY, heard[-5:]
    return ErrorCode(frames.read_goaway(memoryview(payload))[1])


def told(server: ServerProcess, raw: bytes) -> ErrorCode:
    """Say ``raw``; return why the server hung up."""
    with attacker(server) as one:
        one.say(raw)
        return goodbye(one.listen())
