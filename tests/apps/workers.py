"""Models that tell which process serves them, and that end it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from blazerpc import BlazeApp

if Path("crash").exists():
    os._exit(7)

app = BlazeApp("workers")


@app.model("pid")
async def pid(seconds: float = 0.0) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


@app.model("hold")
async def hold(until: str) -> int:
    """Wait until a file of that name exists."""
    print(f"{os.getpid()} is holding", file=sys.stderr, flush=True)
    while not Path(until).exists():
        await asyncio.sleep(0.01)
    return os.getpid()


@app.model("end")
async def end(code: int) -> int:
    os._exit(code)


@app.model("freeze")
async def freeze(forever: bool) -> int:
    """Block the event loop."""
    print("frozen", file=sys.stderr, flush=True)
    while forever:
        time.sleep(1)  # what is tested
    return 0


@app.model("slow-end")
class SlowEnd:
    """Takes longer to close than a hurried worker has."""

    def __call__(self, x: int) -> int:
        return x

    def close(self) -> None:
        if Path("slow").exists():
            time.sleep(4)
            print(f"{os.getpid()} has closed", file=sys.stderr, flush=True)
