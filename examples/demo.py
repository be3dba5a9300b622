"""The main job on real models: serve, generate a client from the server, call, compare, stop."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from examples.digits import Digits
from examples.process import served

if TYPE_CHECKING:
    from inference_client import InferenceClient

T = TypeVar("T")


def main() -> int:
    """Run the demo; return 0 when every model answered as it does when it is called directly."""
    console = Console(width=110)
    console.print("$ blaze serve examples.app:app --port 0", style="bold")
    with served("examples.app:app") as target, tempfile.TemporaryDirectory() as directory:
        console.print(f"$ blaze client gen --from {target}", style="bold")
        command = [sys.executable, "-m", "blazerpc.cli", "client", "gen", "--from", target]
        subprocess.run([*command, "--out", directory], check=True)
        console.print("$ python", style="bold")
        # What a colleague would do: import the package that the line above has just written.
        sys.path.insert(0, directory)
        from inference_client import InferenceClient

        assert Path(directory) in Path(sys.modules["inference_client"].__file__ or "").parents
        agreed = asyncio.run(_call_every_model(InferenceClient(target), console))
    console.print("Server stopped cleanly.")
    return 0 if agreed else 1


async def _call_every_model(client: InferenceClient, console: Console) -> bool:
    digits = Digits()
    table = Table("call", "result", "ms")
    async with client:
        for text in ("What a great day!", "This is a terrible, horrible mess.", "It is a table."):
            score, ms = await _timed(client.predict_sentiment(text=text))
            table.add_row(escape(f"predict_sentiment(text={text!r})"), f"{score:+.3f}", f"{ms:.1f}")
        words, ms = await _timed(_collected(client))
        table.add_row("predict_tokens(prompt='The dataset', count=12, seed=7)", words, f"{ms:.1f}")
        probabilities, ms = await _timed(client.predict_digits(x=digits.images))
        call = f"predict_digits(x={digits.images.dtype} {digits.images.shape})"
        table.add_row(call, f"{probabilities.dtype} {probabilities.shape}", f"{ms:.1f}")
    console.print(table)
    direct = digits.probabilities(digits.images)
    over_wire, called = (digits.accuracy(result) for result in (probabilities, direct))
    identical = np.array_equal(probabilities, direct)
    console.print(f"digits: accuracy {over_wire:.4f} over the wire, {called:.4f} called directly")
    console.print(f"digits: probabilities are {'identical' if identical else 'NOT the same'}")
    return identical and over_wire == called and bool(words)


async def _collected(client: InferenceClient) -> str:
    words = client.predict_tokens(prompt="The dataset", count=12, seed=7)
    return " ".join([word async for word in words])


async def _timed(call: Awaitable[T]) -> tuple[T, float]:
    """Return the result of ``call``, and the milliseconds it took."""
    started = time.perf_counter()
    result = await call
    return result, (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    sys.exit(main())
