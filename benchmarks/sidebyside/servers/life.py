"""How a peer's server begins and ends, as `blaze serve` does."""

from __future__ import annotations

import asyncio
import signal


def announce(port: int) -> None:
    """Say that the server listens: whoever started this process waits for it."""
    print(f"Serving on 127.0.0.1:{port}", flush=True)


async def stopped() -> None:
    """Wait for SIGTERM."""
    event = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, event.set)
    await event.wait()
