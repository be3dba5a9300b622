"""``blaze serve --workers``: several processes on one port, under one that watches them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from blazerpc_client import BlazeClient, RpcError, Unavailable
from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import blaze, logged

APP = "tests.apps.workers:app"

#: ``blaze``, as it is where processes cannot share a port.
INHERITING = (
    "-c",
    "import socket; del socket.SO_REUSEPORT; from blazerpc.cli.main import main; main()",
)
PROGRAMS = {"shared": ("-m", "blazerpc.cli"), "inherited": INHERITING}


@pytest.fixture(params=PROGRAMS)
def start_workers(request: pytest.FixtureRequest, start_server: StartServer) -> StartServer:
    """Start servers of both ways to have one port."""

    def start(*options: str, app: str = APP, **how: object) -> ServerProcess:
        return start_server(app, *options, program=PROGRAMS[request.param], **how)

    return start


async def pid_of(client: BlazeClient, seconds: float = 0.0) -> int:
    pid = await client.predict("pid", seconds=seconds)
    assert isinstance(pid, int)
    return pid


@asynccontextmanager
async def clients(server: ServerProcess, workers: int = 2) -> AsyncIterator[dict[int, BlazeClient]]:
    """Connect until there is a connection to each worker; give them by the worker's pid."""
    async with AsyncExitStack() as stack, asyncio.timeout(40):
        found: dict[int, BlazeClient] = {}
        while len(found) < workers:
            made = [BlazeClient("127.0.0.1", server.port) for _ in range(8)]
            for client in made:
                await stack.enter_async_context(client)
            pids = await asyncio.gather(*(pid_of(client) for client in made))
            found |= dict(zip(pids, made, strict=True))
        yield found


async def ended(server: ServerProcess) -> tuple[int, str]:
    return await asyncio.to_thread(server.wait)


async def rest_of_output(server: ServerProcess) -> str:
    """Return what is printed until the last process that can print has ended."""
    assert server.process.stdout is not None
    return await asyncio.to_thread(server.process.stdout.read)


async def test_new_connections_spread_over_processes(start_workers: StartServer) -> None:
    server = start_workers("--workers", "2")
    async with clients(server) as found:
        assert server.process.pid not in found
        for pid, client in found.items():
            assert [await client.predict("pid") for _ in range(5)] == [pid] * 5
    code, _ = await asyncio.to_thread(server.stop)
    assert code == 0
    # Told once, after the table of the models, and not by each of them.
    assert server.banner.count("freeze") == server.banner.count("Serving on ") == 1
    assert await rest_of_output(server) == ""


class Load:
    """Calls without a pause, by many clients; what they got, and by which process."""

    def __init__(self) -> None:
        self.pids: list[set[int]] = []
        self.failures: list[tuple[set[int], RpcError]] = []
        self._stop = asyncio.Event()
        self._spread = asyncio.Event()

    async def run(self, server: ServerProcess, size: int) -> None:
        self.pids = [set() for _ in range(size)]
        await asyncio.gather(*(self._call(server, pids) for pids in self.pids))

    def stop(self) -> None:
        self._stop.set()

    async def seen(self, holds: Callable[[set[int]], bool]) -> set[int]:
        """Wait until the processes that have answered are such, and return them."""
        while not holds(pids := set[int]().union(*self.pids)):
            await asyncio.sleep(0.01)
        self._spread.set()
        return pids

    async def _call(self, server: ServerProcess, pids: set[int]) -> None:
        while not self._stop.is_set():
            pids.clear()
            async with BlazeClient("127.0.0.1", server.port) as client:
                await self._calls(client, pids)

    async def _calls(self, client: BlazeClient, pids: set[int]) -> None:
        """Call until the end, or a few times while one process may have all connections."""
        calls = 0
        while not self._stop.is_set() and (self._spread.is_set() or calls < 20):
            calls += 1
            try:
                pids.add(await pid_of(client, 0.005))
            except RpcError as error:
                self.failures.append((set(pids), error))
                # Another connection: the way to the worker that takes the place.
                await asyncio.sleep(0.01)


async def test_a_killed_worker_fails_its_own_calls_alone_and_comes_back(
    start_workers: StartServer,
) -> None:
    server = start_workers("--workers", "2")
    load = Load()
    running = asyncio.create_task(load.run(server, 24))
    async with asyncio.timeout(50):
        first = await load.seen(lambda pids: len(pids) == 2)
        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        await logged(server, f"(pid {killed}) was killed by SIGKILL; starting another one in 0.2 s")
        async with clients(server) as found:
            (new,) = set(found) - first
            assert set(found) - {new} == first - {killed}
        load.stop()
        await running
    assert load.failures
    for pids, error in load.failures:
        assert isinstance(error, Unavailable)
        assert killed in pids or not pids  # the first answer to that client had not come yet
    # A client failed once: what came after it went to a worker that lives.
    unanswered = len([pids for pids, _ in load.failures if not pids])
    killed_first = len([pids for pids in load.pids if killed in pids])
    assert len(load.failures) <= killed_first + unanswered
    code, errors = await asyncio.to_thread(server.stop)
    assert code == 0
    assert "Traceback" not in errors


async def test_a_worker_that_keeps_crashing_makes_it_give_up_and_the_others_are_drained(
    start_workers: StartServer, tmp_path: Path
) -> None:
    server = start_workers("--workers", "2", "--grace", "50", directory=tmp_path)
    release = tmp_path / "release"
    async with clients(server) as found:
        (doomed, ending), (kept, holding) = found.items()
        held = asyncio.create_task(holding.predict("hold", until=str(release)))
        await logged(server, f"{kept} is holding")
        (tmp_path / "crash").touch()
        with pytest.raises(Unavailable):
            await ending.predict("end", code=7)
        await logged(server, "stopping: 1 calls in flight")
        release.touch()
        assert await held == kept
    code, errors = await ended(server)
    assert code == 3
    assert errors.count(f"(pid {doomed}) ended with exit code 7; starting another one") == 1
    (line,) = (line for line in errors.splitlines() if line.startswith("error: "))
    assert line.startswith("error: giving up after 5 failures within 60 s; the last: worker ")
    assert line.endswith(" ended with exit code 7 while it started")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True], ids=["supervisor", "group"])
async def test_all_workers_drain(
    start_workers: StartServer, tmp_path: Path, number: signal.Signals, group: bool
) -> None:
    server = start_workers("--workers", "2", "--grace", "50")
    release = tmp_path / "release"
    async with clients(server) as found:
        held = {
            pid: asyncio.create_task(client.predict("hold", until=str(release)))
            for pid, client in found.items()
        }
        for pid in held:
            await logged(server, f"{pid} is holding")
        if group:
            os.killpg(server.process.pid, number)  # as Ctrl-C in a terminal does
        else:
            server.signal(number)
        for pid in held:
            await logged(server, f"[{pid}]: stopping: 1 calls in flight")
        # Refused; or reset, when it came between the first who closed the socket and the last.
        with pytest.raises(Unavailable):
            async with BlazeClient("127.0.0.1", server.port) as late:
                await late.predict("pid")
        release.touch()
        assert {pid: await task for pid, task in held.items()} == {pid: pid for pid in held}
    code, errors = await ended(server)
    assert code == 0
    assert "Traceback" not in errors


@pytest.mark.parametrize("group", [False, True], ids=["supervisor", "group"])
async def test_a_second_signal_ends_it_at_once(
    start_server: StartServer, tmp_path: Path, group: bool
) -> None:
    server = start_server(APP, "--workers", "2", "--grace", "50")
    send = os.killpg if group else os.kill
    async with clients(server) as found:
        held = [
            asyncio.create_task(client.predict("hold", until="/never")) for client in found.values()
        ]
        for pid in found:
            await logged(server, f"{pid} is holding")
        started = time.monotonic()
        for count in (1, 2):
            send(server.process.pid, signal.SIGINT)
            if count == 1:
                for pid in found:
                    await logged(server, f"[{pid}]: stopping: 1 calls in flight")
        for task in held:
            with pytest.raises(RpcError):
                await task
    code, errors = await ended(server)
    assert code == 0
    assert time.monotonic() - started < 20
    assert "Traceback" not in errors


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_worker_that_does_not_end_is_killed(
    start_server: StartServer, signals: int
) -> None:
    server = start_server(APP, "--workers", "2", "--grace", "0.1" if signals == 1 else "50")
    async with clients(server) as found:
        (frozen, client), (other, _) = found.items()
        call = asyncio.create_task(client.predict("freeze", forever=True))
        await logged(server, "frozen")
        server.signal(signal.SIGTERM)
        await logged(server, f"[{other}]: stopped")
        if signals == 2:
            server.signal(signal.SIGTERM)
        with pytest.raises(Unavailable):
            await call
    code, errors = await ended(server)
    assert code == 0
    assert f"(pid {frozen}), which does not end" in errors
    assert errors.count("does not end") == 1


async def test_models_have_time_to_close(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "slow").touch()
    server = start_server(APP, "--workers", "2", "--grace", "0", directory=tmp_path)
    code, errors = await asyncio.to_thread(server.stop)
    assert code == 0
    assert errors.count("has closed") == 2
    assert "does not end" not in errors


async def test_workers_end_with_their_supervisor_after_their_calls(
    start_workers: StartServer, tmp_path: Path
) -> None:
    server = start_workers("--workers", "2", "--grace", "50")
    release = tmp_path / "release"
    async with clients(server) as found:
        pid, client = next(iter(found.items()))
        held = asyncio.create_task(client.predict("hold", until=str(release)))
        await logged(server, f"{pid} is holding")
        server.signal(signal.SIGKILL)
        await logged(server, "stopping: 1 calls in flight")
        release.touch()
        assert await held == pid
    # Its standard output is theirs as well.
    assert await rest_of_output(server) == ""
    with pytest.raises(Unavailable, match="cannot reach"):
        async with BlazeClient("127.0.0.1", server.port) as late:
            await late.predict("pid")


async def test_a_worker_that_starts_ends_with_its_supervisor(
    start_server: StartServer, tmp_path: Path
) -> None:
    write_slow(tmp_path)
    server = start_server("slow:app", "--workers", "2", directory=tmp_path, listening=False)
    await logged(server, "importing")
    server.signal(signal.SIGKILL)
    assert await rest_of_output(server) == ""


@pytest.mark.parametrize("group", [False, True], ids=["supervisor", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_the_workers_start_ends_it_without_a_word(
    start_server: StartServer, tmp_path: Path, number: signal.Signals, group: bool
) -> None:
    write_slow(tmp_path)
    server = start_server("slow:app", "--workers", "2", directory=tmp_path, listening=False)
    await logged(server, "importing\nimporting\n")
    send = os.killpg if group else os.kill
    send(server.process.pid, number)
    assert await ended(server) == (0, "importing\nimporting\n")


@pytest.mark.parametrize("group", [False, True], ids=["supervisor", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_signal_while_models_are_built_ends_it(
    start_server: StartServer, tmp_path: Path, number: signal.Signals, group: bool
) -> None:
    (tmp_path / "building.py").write_text(BUILDING.format("threading.Event().wait(30)"))
    server = start_server("building:app", "--workers", "2", directory=tmp_path, listening=False)
    await logged(server, "building\nbuilding\n")
    send = os.killpg if group else os.kill
    send(server.process.pid, number)
    assert await rest_of_output(server) == ""
    code, errors = await ended(server)
    assert code == (-number if number is signal.SIGKILL else 0)
    assert "Traceback" not in errors
    assert "error" not in errors


BUILDING = """
import sys
import threading
from blazerpc import BlazeApp

app = BlazeApp()

@app.model("built")
class Built:
    def __init__(self) -> None:
        sys.stderr.write("building\\n")  # at once: workers write beside each other
        {}

    def __call__(self, x: int) -> int:
        return x
"""


def write_slow(directory: Path) -> None:
    (directory / "slow.py").write_text(
        "import sys, threading\nsys.stderr.write('importing\\n')\nthreading.Event().wait()\n"
    )


@pytest.mark.parametrize(
    ("app", "code"),
    [
        ("app", 2),
        ("nowhere:app", 2),
        ("broken:app", 1),
        ("wrong:app", 1),
        ("empty:app", 1),
        ("fails:app", 1),
        ("leaves:app", 5),
    ],
)
def test_an_app_that_cannot_start_fails_as_it_does_in_one_process(
    tmp_path: Path, app: str, code: int
) -> None:
    (tmp_path / "broken.py").write_text("\n1 / 0\n")
    (tmp_path / "wrong.py").write_text("def (:\n")
    (tmp_path / "empty.py").write_text("from blazerpc import BlazeApp\napp = BlazeApp()\n")
    (tmp_path / "fails.py").write_text(BUILDING.format("raise OSError('no weights')"))
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(5)\n")
    alone = blaze("serve", app, "--port", "0", cwd=tmp_path)
    done = blaze("serve", app, "--port", "0", "--workers", "2", cwd=tmp_path)
    assert done.returncode == alone.returncode == code
    assert done.stdout == alone.stdout == ""
    told, told_alone = (
        [line for line in text.stderr.splitlines() if line.startswith("error: ")]
        for text in (done, alone)
    )
    if code == 5:  # it leaves without a word
        (line,) = told
        assert line.startswith("error: worker ")
        assert line.endswith(" ended with exit code 5 while it started")
    else:
        assert told == told_alone
    assert len(told) == 1


async def test_a_port_is_not_shared_with_strangers_and_free_at_the_end(
    start_workers: StartServer,
) -> None:
    server = start_workers("--workers", "2")
    taken = f"error: cannot listen on 127.0.0.1:{server.port}: "
    for workers in ("1", "2"):
        done = await asyncio.to_thread(
            blaze, "serve", APP, "--port", str(server.port), "--workers", workers
        )
        (line,) = done.stderr.splitlines()
        assert line.startswith(taken)
        assert done.returncode == 1
    async with clients(server):
        await asyncio.to_thread(server.stop)
    again = start_workers("--workers", "2", "--port", str(server.port))
    assert again.port == server.port
