"""``blaze serve --reload``: the app is served as its source is now."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from blazerpc_client import BlazeClient, Unavailable
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import blaze, logged

SOURCE = """
from blazerpc import BlazeApp
from helper import ANSWER

app = BlazeApp("mine")

@app.model("answer")
async def answer(x: int) -> int:
    return ANSWER
"""
WORKERS = pytest.mark.parametrize("workers", ["1", "2"])


def write(path: Path, text: str) -> None:
    """Write a file as editors do, at once: half of it is no change."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def answer(directory: Path, number: int) -> None:
    """Make the app answer with a number of one digit: the source keeps its size."""
    write(directory / "helper.py", f"ANSWER = {number}\n")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(SOURCE)
    answer(tmp_path, 1)
    return tmp_path


async def ask(server: ServerProcess) -> list[object]:
    """Return the answers of some connections."""
    answers: list[object] = []
    for _ in range(4):
        async with BlazeClient("127.0.0.1", server.port) as client:
            answers.append(await client.predict("answer", x=0))
    return answers


async def restarted(server: ServerProcess) -> str:
    """Wait until the server serves again; return what it printed."""
    return await asyncio.to_thread(server.printed, "Serving on ")


async def stop(server: ServerProcess) -> None:
    code, errors = await asyncio.to_thread(server.stop)
    assert code == 0
    assert "Traceback" not in errors


@WORKERS
async def test_a_change_is_served_on_the_same_port(
    start_server: StartServer, here: Path, workers: str
) -> None:
    server = start_server("mine:app", "--reload", "--workers", workers, directory=here)
    assert await ask(server) == [1] * 4
    for number in (2, 3):
        answer(here, number)
        printed = await restarted(server)
        assert printed.splitlines()[0] == "Restarting: helper.py changed"
        assert printed.splitlines()[-1] == f"Serving on {server.target}"
        assert await ask(server) == [number] * 4
    assert not list(here.rglob("*.pyc"))
    await stop(server)


@WORKERS
async def test_a_syntax_error_is_one_line_and_its_repair_is_served(
    start_server: StartServer, here: Path, workers: str
) -> None:
    server = start_server("mine:app", "--reload", "--workers", workers, directory=here)
    write(here / "helper.py", "ANSWER = (\n")
    error = "error: importing mine failed: SyntaxError: '(' was never closed (helper.py, line 1)"
    await logged(server, error)
    with pytest.raises(Unavailable):
        await ask(server)
    answer(here, 2)
    printed = await restarted(server)
    assert printed.count("Restarting: helper.py changed") == 2
    assert printed.splitlines()[-1] == f"Serving on {server.target}"
    assert await ask(server) == [2] * 4
    assert server.errors().count("error: ") == 1
    await stop(server)


@WORKERS
async def test_an_app_that_is_broken_from_the_start_is_waited_for(
    start_server: StartServer, here: Path, workers: str
) -> None:
    write(here / "mine.py", "def (:\n")
    options = ("--reload", "--workers", workers)
    server = start_server("mine:app", *options, directory=here, listening=False)
    await logged(server, "error: importing mine failed: SyntaxError: ")
    write(here / "mine.py", SOURCE)
    await asyncio.to_thread(server.listens)
    assert await ask(server) == [1] * 4
    await stop(server)


async def test_a_broken_app_can_be_stopped(start_server: StartServer, here: Path) -> None:
    server = start_server("mine:app", "--reload", directory=here)
    write(here / "mine.py", "def (:\n")
    await logged(server, "error: importing mine failed")
    server.signal(signal.SIGINT)
    code, _ = await asyncio.to_thread(server.wait)
    assert code == 0


async def test_a_crash_is_mended_without_a_change(start_server: StartServer, here: Path) -> None:
    write(here / "mine.py", SOURCE.replace("return ANSWER", "import os; os._exit(7)"))
    server = start_server("mine:app", "--reload", directory=here)
    with pytest.raises(Unavailable):
        await ask(server)
    await logged(server, "ended with exit code 7; starting another one in 0.2 s")
    write(here / "mine.py", SOURCE)
    await restarted(server)
    assert await ask(server) == [1] * 4
    await stop(server)


async def test_a_lock_is_a_source(start_server: StartServer, here: Path) -> None:
    blaze("proto", "mine:app", "--output-dir", "schema", "--lock", "my.lock", cwd=here)
    server = start_server("mine:app", "--reload", "--lock", "my.lock", directory=here)
    write(here / "mine.py", SOURCE.replace("x: int", "x: int, y: int = 0"))
    await logged(server, "error: the schema has what its lock has not; run blaze proto --lock")
    done = await asyncio.to_thread(
        blaze, "proto", "mine:app", "--output-dir", "schema", "--lock", "my.lock", cwd=here
    )
    assert done.returncode == 0, done.stderr
    assert "my.lock changed" in await restarted(server)
    assert await ask(server) == [1] * 4
    await stop(server)


def test_without_watchfiles_the_extra_is_named(here: Path) -> None:
    hidden = "import sys; sys.modules['watchfiles'] = None; from blazerpc.cli.main import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{hidden}; main()", "serve", "mine:app", "--reload"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 1
    line = "error: --reload needs watchfiles; run: pip install 'blazerpc[reload]'\n"
    assert (done.stdout, done.stderr) == ("", line)
