"""Models that tests watch: what is counted, and what is logged."""

from __future__ import annotations

import logging
import os
import signal

from blazerpc import BlazeApp, Context

app = BlazeApp("observed")


@app.model("echo", batch=True)
def echo(text: list[str]) -> list[str]:
    return text


@app.model("tell")
def tell(text: str, ctx: Context) -> str:
    logging.getLogger("model").info("told %s", text)
    logging.getLogger("model").debug("told by %s", ctx)
    return text


@app.model("fail")
def fail(text: str, ctx: Context) -> str:
    raise ValueError(f"{text}: {ctx}")


@app.model("spoil")
def spoil(text: str, ctx: Context) -> str:
    value = ctx.metadata["authorization"]
    ctx.set_trailing_metadata("x-spoilt", f"{value!r}\n")
    return text


@app.model("die")
def die(text: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return text
