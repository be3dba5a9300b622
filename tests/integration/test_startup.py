"""``blaze serve`` before it serves: what fails is told in one line, and a signal ends it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, StartServer
from tests.integration.conftest import blaze


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("app", "text"),
    [
        (
            "failing_lifespan",
            r"the lifespan failed: ConnectionError: no database at db:5432, is it running\? "
            r"\(.*startup\.py:\d+\)",
        ),
        (
            "failing_constructor",
            r"model 'digits': NoWeights\(\) failed: FileNotFoundError: no weights in digits\.bin "
            r"\(.*startup\.py:\d+\)",
        ),
        (
            "failing_warmup",
            r"model 'digits': NoDevice\.warmup\(\) failed: RuntimeError: no such device "
            r"\(.*startup\.py:\d+\)",
        ),
        (
            "exiting_warmup",
            r"model 'digits': Exits\.warmup\(\) failed: SystemExit: no licence "
            r"\(.*startup\.py:\d+\)",
        ),
    ],
)
def test_a_start_up_that_fails_ends_the_process_with_one_clear_line(app: str, text: str) -> None:
    port = free_port()
    done = blaze("serve", f"tests.apps.startup:{app}", "--port", str(port))
    assert done.returncode == 1
    assert re.fullmatch(f"error: {text}\n", done.stderr), done.stderr
    assert done.stdout == ""
    assert not listens(port)


@pytest.mark.parametrize(
    ("app", "number"),
    [
        ("slow_warmup", signal.SIGTERM),
        ("slow_async_warmup", signal.SIGINT),
        ("slow_constructor", signal.SIGTERM),
    ],
)
def test_a_signal_during_a_slow_start_up_ends_the_process_promptly(
    app: str, number: signal.Signals
) -> None:
    port = free_port()
    command = [sys.executable, "-W", "error", "-m", "blazerpc.cli", "serve"]
    with subprocess.Popen(
        [*command, f"tests.apps.startup:{app}", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "warming up\n"
            assert not listens(port)
            signalled = time.monotonic()
            process.send_signal(number)
            output, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert time.monotonic() - signalled < 10
    assert "Serving on" not in output
    assert "Traceback" not in errors


@pytest.mark.parametrize("options", [(), ("--workers", "1")])
def test_what_was_there_at_the_start_is_no_garbage_to_search(
    start_server: StartServer, options: tuple[str, ...]
) -> None:
    server = start_server("tests.apps.startup:frozen", *options)
    done = blaze("call", server.target, "frozen")
    assert int(done.stdout) > 10_000
