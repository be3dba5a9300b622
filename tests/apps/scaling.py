"""A server whose models scale within seconds, and are pickled: they are in ``__main__``."""

from __future__ import annotations

import asyncio
import os
import sys

from blazerpc import BlazeApp, RayEngine, Resources, ServeOptions

app = BlazeApp("scaling")


@app.model("where", resources=Resources(cpus=0.1, replicas=(1, 2), max_ongoing=2))
async def where(seconds: float) -> int:
    """Return the process, after a while."""
    await asyncio.sleep(seconds)
    return os.getpid()


async def main(address: str) -> None:
    """Serve on that Ray."""
    engine = RayEngine(address=address, upscale_delay=1.0, downscale_delay=1.0)
    server = app.server(ServeOptions(engine=engine))
    await server.listen(port=0)
    print(f"Serving on 127.0.0.1:{server.port}", flush=True)
    await server.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1]))
