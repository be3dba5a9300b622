"""Apps whose start-up fails, or takes its time, or leaves something to see."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from blazerpc import BlazeApp


@asynccontextmanager
async def _no_database(app: BlazeApp) -> AsyncIterator[None]:
    if app.name:
        raise ConnectionError("no database at db:5432,\nis it running?")
    yield


class _Model:
    def __call__(self, x: int) -> int:
        return x


failing_lifespan = BlazeApp(lifespan=_no_database)
failing_lifespan.model("model")(_Model)

failing_constructor = BlazeApp()


@failing_constructor.model("digits")
class NoWeights(_Model):
    def __init__(self) -> None:
        raise FileNotFoundError("no weights in digits.bin")


failing_warmup = BlazeApp()


@failing_warmup.model("digits")
class NoDevice(_Model):
    async def warmup(self) -> None:
        raise RuntimeError("no such device")


slow_warmup = BlazeApp()


@slow_warmup.model("slow", max_concurrency=1)
class SlowWarmup(_Model):
    def warmup(self) -> None:
        print("warming up", flush=True)
        time.sleep(60)

    def close(self) -> None:
        print("closed", flush=True)


slow_async_warmup = BlazeApp()


@slow_async_warmup.model("slow")
class SlowAsyncWarmup(_Model):
    async def warmup(self) -> None:
        print("warming up", flush=True)
        await asyncio.sleep(60)


slow_constructor = BlazeApp()


@slow_constructor.model("slow")
class SlowConstructor(_Model):
    def __init__(self) -> None:
        print("warming up", flush=True)
        time.sleep(60)


exiting_warmup = BlazeApp()


@exiting_warmup.model("digits")
class Exits(_Model):
    async def warmup(self) -> None:
        sys.exit("no licence")


frozen = BlazeApp()


@frozen.model("frozen")
def frozen_objects(per: int = 1) -> int:
    """Return how many objects Python's search for garbage leaves out."""
    return gc.get_freeze_count() // per
