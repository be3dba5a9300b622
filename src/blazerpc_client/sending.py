"""The requests of a call that has many, sent while its answers are received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Coroutine
from typing import Any

from google.protobuf.message import Message

from blazerpc_client.call import ClientCall
from blazerpc_client.metadata import current_recorder


class Sender:
    """Sends the requests of a call while its answers are received."""

    def __init__(self, requests: AsyncIterable[Message]) -> None:
        self._requests = requests
        self._task: asyncio.Task[None] | None = None

    def start(self, stream: ClientCall[Any, Any]) -> None:
        """Begin, on a call whose headers have been sent."""
        self._task = asyncio.create_task(self._send(stream))

    def failure(self) -> BaseException | None:
        """Return what the iterable of requests raised."""
        task = self._task
        return task.exception() if task and task.done() and not task.cancelled() else None

    async def stop(self) -> None:
        """Send no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _send(self, stream: ClientCall[Any, Any]) -> None:
        # The calls that the iterable makes are not this one.
        current_recorder.set(None)
        try:
            async for request in self._requests:
                if not await self._sent(stream.send_message(request)):
                    return
        except BaseException:
            stream.abort()
            raise
        await self._sent(stream.end())

    @staticmethod
    async def _sent(sending: Coroutine[Any, Any, None]) -> bool:
        try:
            await sending
        except Exception:  # whatever became of the call, it is the answer that tells
            return False
        return True
