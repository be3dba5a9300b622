"""Models for what goes on below gRPC: bytes there and back, calls that last, and what is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from blazerpc import BlazeApp

app = BlazeApp("wire")


@app.model("echo")
async def echo(data: bytes) -> bytes:
    return data


@app.model("repeat")
async def repeat(data: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield data


@app.model("wait")
async def wait(data: bytes) -> bytes:
    await asyncio.Event().wait()
    return data


@app.model("tasks")
async def tasks(besides: int) -> int:
    return len(asyncio.all_tasks()) - besides
