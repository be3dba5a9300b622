"""What runs on Ray: a model's replica, and what a front door has there."""

from __future__ import annotations

import asyncio
import importlib
import pickle
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc.engines.failure import sent
from blazerpc.exceptions import InferenceError
from blazerpc.runtime.executor import ModelExecutor
from blazerpc.runtime.model import ModelInfo

#: Items of a stream that its replica makes before the first of them is taken.
WINDOW: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """A model on its way to its replicas.

    Attributes:
        app: import string of its app; None when the model is ``pickled``.
        name: of the model.
        version: likewise.
        path: directory that modules are imported from.
        pickled: the model itself.
    """

    app: str | None
    name: str
    version: str
    path: str
    pickled: bytes | None

    def model(self) -> ModelInfo:
        """Return the model, in its replica."""
        if self.path not in sys.path:
            sys.path.insert(0, self.path)
        model: ModelInfo
        if self.pickled is not None:
            model = pickle.loads(self.pickled)  # noqa: S301 - as Ray sends what it runs
            return model
        assert self.app is not None
        module, _, attribute = self.app.partition(":")
        app: Any = attrgetter(attribute)(importlib.import_module(module))
        model = app.registry.get(self.name, self.version)
        return model


class Replica:
    """Runs one model, as the local engine would in a process of its own."""

    async def __init__(self, code: Code) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        self._executor = ModelExecutor(code.model())
        await self._executor.start()

    async def call(self, arguments: Mapping[str, object]) -> object:
        """Return the result, or a ``Failure``; of a batch, one at each index that failed."""
        try:
            result = await self._executor.execute(arguments)
        except (GRPCError, InferenceError) as error:
            return sent(error)
        match result:
            case list() | tuple() if any(isinstance(item, Exception) for item in result):
                return [sent(item) if isinstance(item, Exception) else item for item in result]
        return result

    async def stream(
        self, arguments: Mapping[str, object], door: Any, number: int
    ) -> AsyncGenerator[object, None]:
        """Yield the model's results, and a ``Failure`` at last when it raises.

        Ray passes items on as they are made, and keeps those that nobody has taken, however many:
        so it is here that a stream waits for its reader.

        Args:
            arguments: of the model.
            door: of the front door, which knows what was taken.
            number: of the stream there.
        """
        made, allowed = 0, WINDOW
        try:
            items = await self._executor.stream(arguments)
            async with aclosing(items):
                async for item in items:
                    if made == allowed:
                        allowed = await _room(door, number, made)
                    made += 1
                    yield item
        except (GRPCError, InferenceError) as error:
            yield sent(error)

    async def __del__(self) -> None:
        await self._executor.close()


async def _room(door: Any, number: int, made: int) -> int:
    """Return ``Door.room``.

    Raises:
        GRPCError: when the door has gone, or is another one by now, and knows of no such stream.
    """
    try:
        allowed: int = await door.room.remote(number, made)
    except Exception as error:  # of Ray's, or the actor's on Ray
        raise GRPCError(Status.UNAVAILABLE, "the front door has lost the stream") from error
    return allowed


class Door:
    """What a front door has on Ray, an actor: while it lives, so does the front door.

    It says how far the streams of that front door are read.
    """

    def __init__(self) -> None:
        self._streams: dict[int, tuple[int, asyncio.Event]] = {}

    async def begin(self, number: int) -> None:
        """Know of a stream."""
        self._streams[number] = 0, asyncio.Event()

    async def taken(self, number: int, count: int) -> None:
        """Note that ``count`` items of a stream have been taken, all in all."""
        if number in self._streams:
            _, event = self._streams[number]
            self._streams[number] = count, asyncio.Event()
            event.set()

    async def room(self, number: int, made: int) -> int:
        """Return how many items may be made, all in all, once that is more than ``made``.

        Raises:
            KeyError: when the stream has ended.
        """
        while True:
            taken, event = self._streams[number]
            if taken + WINDOW > made:
                return taken + WINDOW
            await event.wait()

    async def end(self, number: int) -> None:
        """Forget a stream."""
        if number in self._streams:
            self._streams.pop(number)[1].set()
