"""Servers in a test's own event loop, and a client that sends any bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import pytest
from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoStatusDetailsCodec
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp, BlazeClient, ServeOptions, ValidationError
from blazerpc.codegen import InferenceServicer
from blazerpc.runtime import ModelInfo
from blazerpc.runtime.runner import ModelRunner
from blazerpc.server import GRPCServer
from blazerpc_client.transport.calling import TransportChannel
from blazerpc_client.transport.choice import Http

#: How long a test waits for what should come at once: its end means that it never came.
PATIENCE = 5.0


class RawCodec(CodecBase):
    """Sends and receives bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        assert isinstance(message, bytes)
        return message

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


@dataclass
class Answer:
    """What a call has brought: messages, an error, trailing metadata."""

    messages: list[bytes] = dataclass_field(default_factory=list)
    error: GRPCError | None = None
    trailing: dict[str, str | bytes] = dataclass_field(default_factory=dict)

    @property
    def status(self) -> Status:
        return Status.OK if self.error is None else self.error.status


class Running:
    """A server that serves, and a channel to it."""

    def __init__(self, server: GRPCServer, channel: Channel) -> None:
        self.server = server
        self.port = server.port
        self.channel = channel
        self.ended = asyncio.create_task(server.wait())

    async def call(self, rpc: str, request: bytes, *, timeout: float | None = None) -> bytes:
        """Call a model by the name of its rpc, without ``Predict``."""
        path = f"/blazerpc.InferenceService/Predict{rpc}"
        return await unary(self.channel, path, request, timeout=timeout)

    async def failure(
        self, rpc: str, request: bytes = b"", *, timeout: float | None = None
    ) -> GRPCError:
        """Return the error that such a call ends with."""
        with pytest.raises(GRPCError) as caught:
            async with asyncio.timeout(PATIENCE):
                await self.call(rpc, request, timeout=timeout)
        return caught.value

    async def answer(
        self,
        rpc: str,
        request: bytes = b"",
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> Answer:
        """Return all that comes back of such a call, of a unary model or of a stream."""
        path, answer = f"/blazerpc.InferenceService/Predict{rpc}", Answer()
        cardinality = Cardinality.UNARY_STREAM
        async with asyncio.timeout(PATIENCE):
            stream = self.channel.request(
                path, cardinality, bytes, bytes, timeout=timeout, metadata=metadata
            )
            try:
                async with stream:
                    await stream.send_message(request, end=True)
                    while (message := await stream.recv_message()) is not None:
                        answer.messages.append(message)
            except GRPCError as error:
                answer.error = error
        assert stream.trailing_metadata is not None
        answer.trailing = dict(stream.trailing_metadata)
        return answer

    def runner(self, model: str) -> ModelRunner:
        """Return what runs the requests of a model, for its counts."""
        runners = {runner.model.name: runner for runner in self.servicer.runners}
        return runners[model]

    @property
    def servicer(self) -> InferenceServicer:
        (servicer,) = (h for h in self.server._handlers if isinstance(h, InferenceServicer))
        return servicer

    async def stop(self) -> None:
        """Stop, and wait until all calls have ended."""
        await self.server.stop()
        async with asyncio.timeout(PATIENCE):
            await self.ended


async def unary(
    channel: Channel, path: str, request: bytes, *, timeout: float | None = None
) -> bytes:
    stream = channel.request(path, Cardinality.UNARY_UNARY, bytes, bytes, timeout=timeout)
    async with stream:
        await stream.send_message(request, end=True)
        response = await stream.recv_message()
    assert isinstance(response, bytes)
    return response


@asynccontextmanager
async def running(
    server: GRPCServer, channel_class: type[Channel | TransportChannel] = Channel
) -> AsyncIterator[Running]:
    """Serve until the end of the block."""
    await server.listen("127.0.0.1", 0)
    codec = ProtoStatusDetailsCodec()
    async with channel_class(
        "127.0.0.1", server.port, codec=RawCodec(), status_details_codec=codec
    ) as c:
        run = Running(server, c)
        try:
            yield run
        finally:
            await run.stop()


@asynccontextmanager
async def serving(
    app: BlazeApp, *, grace: float = 0.5, http: Http | None = None
) -> AsyncIterator[Running]:
    """Serve all models of ``app`` until the end of the block.

    With ``http``, the channel speaks it, too; without, it is grpclib's, to a server's default.
    """
    options = ServeOptions(port=0, grace_period=grace, http=http)
    channel_class = TransportChannel if http == "blaze" else Channel
    async with running(app.server(options), channel_class) as run:
        yield run


@asynccontextmanager
async def client_of(app: BlazeApp, run: Running) -> AsyncIterator[BlazeClient]:
    async with BlazeClient("127.0.0.1", run.port, app.registry) as client:
        yield client


def registered(func: Callable[..., object], **options: Any) -> ModelInfo:
    """Return the model that ``func`` is, as ``BlazeApp.model`` registers it."""
    app = BlazeApp()
    app.model("my-model", **options)(func)
    return app.registry.get("my-model")


def refusal(func: Callable[..., object], **options: Any) -> str:
    """Return what such a registration is refused with, after the name of the model."""
    with pytest.raises(ValidationError) as caught:
        registered(func, **options)
    text = str(caught.value)
    assert text.startswith("model 'my-model'")
    return text.removeprefix("model 'my-model'").lstrip(":, ")


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop run until ``holds``, which nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


_PRELUDE = """
import collections.abc
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterable, Iterator
from typing import Annotated, Any
import numpy as np
import numpy.typing as npt
from blazerpc import Tensor, TensorInput, TensorOutput
"""


def define(source: str, *, future: bool = False) -> Callable[..., object]:
    """Execute a definition of ``model``, and return it: for what no type checker would let pass."""
    lines = "from __future__ import annotations" if future else ""
    namespace: dict[str, Any] = {}
    exec(compile(lines + _PRELUDE + source, "model.py", "exec", dont_inherit=True), namespace)
    model: Callable[..., object] = namespace["model"]
    return model


def field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload
