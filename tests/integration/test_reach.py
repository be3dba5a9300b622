"""Clients and their servers: several of them, dead ones, ones that come back, ones that refuse."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from blazerpc_client import (
    Backoff,
    BlazeClient,
    CallOptions,
    DeadlineExceeded,
    RetryPolicy,
    RpcError,
    Unavailable,
)
from blazerpc_client.channel import Channel
from blazerpc_client.transport.choice import chosen_http
from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.reach import (
    PATIENT,
    REPEAT,
    RETRY,
    SOON,
    Peer,
    channel,
    peers,
    pid_of,
    repeat,
    say,
    served_by,
    unused_address,
)

#: This package's HTTP/2. What grpclib's cannot do is not asked of it.
OWN = chosen_http(None) == "blaze"


async def test_servers_take_turns() -> None:
    with peers(3) as found:
        async with channel([peer.target for peer in found]) as made:
            await served_by(made, {pid_of(peer) for peer in found})
            count = Counter([(await say(made))["pid"] for _ in range(30)])
    assert set(count.values()) == {10}


async def test_a_target_may_be_a_text_with_commas_between() -> None:
    with peers(2) as found:
        async with channel(",".join(peer.target for peer in found)) as made:
            await served_by(made, {pid_of(peer) for peer in found})


async def test_a_dead_address_is_passed_over(peer: Peer) -> None:
    async with channel([unused_address(), peer.target, unused_address()]) as made:
        assert {(await say(made))["pid"] for _ in range(30)} == {pid_of(peer)}


async def test_an_address_that_accepts_and_says_nothing_is_passed_over(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        host, port = mute.getsockname()
        async with channel([f"{host}:{port}", peer.target]) as made:
            assert {(await say(made))["pid"] for _ in range(30)} == {pid_of(peer)}


async def test_a_name_whose_addresses_are_not_all_served(peer: Peer) -> None:
    # localhost is ::1 too, where nobody listens.
    async with channel(f"dns:///localhost:{peer.target.rpartition(':')[2]}") as made:
        assert {(await say(made))["pid"] for _ in range(10)} == {pid_of(peer)}


async def test_a_name_that_nobody_knows_is_told() -> None:
    async with channel("dns:///nothing.invalid:7", backoff=Backoff(initial=60)) as made:
        with pytest.raises(Unavailable, match=r"^cannot reach dns:///nothing\.invalid:7: .*known$"):
            await say(made)
        with pytest.raises(Unavailable, match=r"; the next attempt is in [4-7][0-9]\.[0-9] s$"):
            await say(made)


def names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that ``servers.test`` stands for; it is the test's to change them.

    The name service is not this package's, nor are its answers to be had in half a minute.
    """
    loop, real = asyncio.get_running_loop(), asyncio.get_running_loop().getaddrinfo
    hosts = ["127.0.0.1"]

    async def answers(host: str, port: int, **options: Any) -> list[Any]:
        found = hosts if host == "servers.test" else [host]
        return [each for known in found for each in await real(known, port, **options)]

    monkeypatch.setattr(loop, "getaddrinfo", answers)
    monkeypatch.setattr("blazerpc_client.resolving._INTERVAL", 0.0)
    return hosts


async def test_servers_that_a_name_stands_for_later_take_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hosts = names(monkeypatch)
    with peers(1) as (first,):
        port = first.target.rpartition(":")[2]
        second = Peer(f"127.0.0.2:{port}")
        try:
            async with channel(f"dns:///servers.test:{port}") as made:
                assert {(await say(made))["pid"] for _ in range(4)} == {pid_of(first)}
                hosts[:] = ["127.0.0.2"]
                first.kill()
                with pytest.raises(Unavailable):
                    await say(made)
                assert (await say(made, PATIENT))["pid"] == pid_of(second)
                assert {(await say(made))["pid"] for _ in range(4)} == {pid_of(second)}
        finally:
            second.kill()


@pytest.mark.skipif(not OWN, reason="grpclib's HTTP/2 has no max_connection_age")
async def test_a_new_server_of_a_name_gets_calls_once_connections_to_the_others_are_old(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = names(monkeypatch)
    age = ("--limit", "max_connection_age=0.5")
    first = start_server("tests.apps.workers:app", *age)
    second = start_server(
        "tests.apps.workers:app", *age, "--host", "127.0.0.2", "--port", str(first.port)
    )
    target = f"dns:///servers.test:{first.port}"
    async with BlazeClient(target=target, backoff=SOON, retry=None) as client:
        assert {await client.predict("pid") for _ in range(4)} == {first.process.pid}
        hosts.append("127.0.0.2")
        seen: Counter[object] = Counter()
        async with asyncio.timeout(40):
            while not seen[second.process.pid]:
                seen[await client.predict("pid")] += 1
    assert set(seen) == {first.process.pid, second.process.pid}


async def test_when_no_address_can_be_reached_a_call_says_why_and_when_it_is_tried_again() -> None:
    first, second = unused_address(), unused_address()
    async with channel([first, second], backoff=Backoff(initial=60)) as made:
        with pytest.raises(Unavailable, match=rf"^cannot reach {first},{second}: .*refused|failed"):
            await say(made)
        started = time.monotonic()
        with pytest.raises(Unavailable, match=r"; the next attempt is in (4|5|6|7)[0-9]\.[0-9] s$"):
            await say(made)
        assert time.monotonic() - started < 30


class Load:
    """Calls one after the other, several at once."""

    def __init__(self, made: Channel, width: int) -> None:
        self.pids: Counter[int] = Counter()
        self.failures: list[RpcError] = []
        self._made = made
        self._stop = False
        self._tasks = [asyncio.create_task(self._calls()) for _ in range(width)]

    async def until(self, *pids: int, calls: int = 20) -> None:
        """Wait until each of these servers has answered so many further calls."""
        before = self.pids.copy()
        async with asyncio.timeout(40):
            while any(self.pids[pid] - before[pid] < calls for pid in pids):
                await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _calls(self) -> None:
        while not self._stop:
            try:
                self.pids[(await say(self._made))["pid"]] += 1
            except RpcError as error:
                self.failures.append(error)


@pytest.mark.parametrize("retry", [RETRY, None], ids=["retried", "not retried"])
async def test_one_of_two_servers_is_killed_under_load_and_comes_back(
    retry: RetryPolicy | None,
) -> None:
    with peers(2) as (stays, dies):
        async with channel([stays.target, dies.target], retry=retry) as made:
            load = Load(made, 8)
            await load.until(pid_of(stays), pid_of(dies))
            dies.kill()
            await load.until(pid_of(stays))
            back = Peer(dies.target)
            try:
                await load.until(pid_of(stays), pid_of(back))
                await load.stop()
            finally:
                back.kill()
    # Those in flight, which may have run: whoever allows it has them made again.
    assert len(load.failures) <= (0 if retry else 8)
    assert all(type(error) is Unavailable for error in load.failures)


@pytest.mark.parametrize("over", ["tcp", "unix"])
async def test_servers_of_ours_are_stopped_under_load(
    start_server: StartServer, tmp_path: Path, over: str
) -> None:
    def started(number: int) -> ServerProcess:
        where = ("--host", f"unix:{tmp_path}/{number}") if over == "unix" else ()
        return start_server("tests.apps.workers:app", "--no-access-log", *where)

    servers = [await asyncio.to_thread(started, number) for number in range(5)]
    # On grpclib's HTTP/2 nothing but its health says that a server stops.
    retry = None if OWN else RETRY
    targets = [server.target for server in servers]
    async with BlazeClient(target=targets, backoff=SOON, health=not OWN, retry=retry) as client:
        # It reads the schema, which is not made again and which a server that stops cuts off.
        pids = Counter([await client.predict("pid")])
        stopped = False

        async def calls() -> None:
            while not stopped:
                try:
                    pids[await client.predict("pid")] += 1
                except Unavailable:
                    if OWN:
                        raise  # grpclib's cuts off calls whose answer has begun

        tasks = [asyncio.create_task(calls()) for _ in range(16)]
        async with asyncio.timeout(60):
            while len(pids) < len(servers):
                await asyncio.sleep(0.01)
            for server in servers[:-1]:
                code, errors = await asyncio.to_thread(server.stop)
                assert (code, "Traceback" in errors) == (0, False)
            before = pids[servers[-1].process.pid]
            while pids[servers[-1].process.pid] < before + 20:
                await asyncio.sleep(0.01)
            stopped = True
            await asyncio.gather(*tasks)


async def test_a_lone_server_comes_back_at_its_address(peer: Peer) -> None:
    async with channel(peer.target) as made:
        assert (await say(made))["pid"] == pid_of(peer)
        peer.kill()
        with pytest.raises(Unavailable):
            await say(made)
        back = Peer(peer.target)
        try:
            assert (await say(made, PATIENT))["pid"] == pid_of(back)
            assert (await say(made))["pid"] == pid_of(back)
        finally:
            back.kill()


@pytest.mark.parametrize("count", [1, 2])
async def test_a_call_waits_for_its_server(count: int) -> None:
    addresses = [unused_address() for _ in range(count)]
    async with channel(addresses) as made:
        call = asyncio.create_task(say(made, PATIENT))
        heard: list[str] = []
        stream = asyncio.create_task(_heard(made, heard))
        with pytest.raises(Unavailable):
            await say(made)
        peer = Peer(addresses[-1])
        try:
            assert (await call)["pid"] == pid_of(peer)
            await stream
            assert json.loads(heard[0])["pid"] == pid_of(peer)
        finally:
            peer.kill()


async def _heard(made: Channel, heard: list[str]) -> None:
    async for answer in made.server_stream(REPEAT, StringValue(), PATIENT):
        assert isinstance(answer, StringValue)
        heard.append(answer.value)


async def test_a_call_waits_no_longer_than_its_deadline() -> None:
    async with channel(unused_address()) as made:
        options = CallOptions(timeout=0.2, wait_for_ready=True)
        with pytest.raises(DeadlineExceeded, match=r"^deadline exceeded: cannot reach "):
            await say(made, options)


async def test_closing_ends_the_wait() -> None:
    async with channel(unused_address()) as made:
        call = asyncio.create_task(say(made, PATIENT))
        with pytest.raises(Unavailable):
            await say(made)
        made.close()
        with pytest.raises(Unavailable, match="the client was closed"):
            await call


async def test_a_client_waits_for_its_server_with_all_that_it_asks(
    start_server: StartServer,
) -> None:
    address = unused_address()
    port = address.rpartition(":")[2]
    async with BlazeClient("127.0.0.1", int(port), wait_for_ready=True, backoff=SOON) as client:
        call = asyncio.create_task(client.predict("pid"))
        hurried = client.with_options(wait_for_ready=False)
        with pytest.raises(Unavailable):
            await hurried.predict("pid")
        server = await asyncio.to_thread(start_server, "tests.apps.workers:app", "--port", port)
        assert await call == server.process.pid


async def test_a_server_that_does_not_serve_gets_no_calls_until_it_does() -> None:
    with peers(2) as (one, other):
        both = {pid_of(one), pid_of(other)}
        async with channel([one.target, other.target], health=True) as made:
            load = Load(made, 4)
            await load.until(*both)
            other.says("NOT_SERVING")
            await served_by(made, {pid_of(one)})
            other.says("SERVING")
            await served_by(made, both)
            await load.stop()
    assert load.failures == []


async def test_nothing_is_asked_of_the_health_of_a_server_that_is_gone(peer: Peer) -> None:
    async with channel(peer.target, health=True) as made:
        await say(made)
        tasks = len(asyncio.all_tasks())
        peer.kill()
        with pytest.raises(Unavailable):
            await say(made)
        back = Peer(peer.target)
        try:
            assert (await say(made, PATIENT))["pid"] == pid_of(back)
            async with asyncio.timeout(40):
                while len(asyncio.all_tasks()) != tasks:
                    await asyncio.sleep(0.01)
        finally:
            back.kill()


async def test_when_no_server_serves_a_call_says_so(peer: Peer) -> None:
    peer.says("NOT_SERVING")
    async with channel(peer.target, health=True) as made:
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"the health of the server is NOT_SERVING$"):
                await say(made)
        call = asyncio.create_task(say(made, PATIENT))
        peer.says("SERVING")
        assert (await call)["pid"] == pid_of(peer)


async def test_a_service_that_a_server_does_not_know_is_not_served(peer: Peer) -> None:
    async with channel(peer.target, health="unheard.Of") as made:
        with pytest.raises(Unavailable, match=r"the health of unheard\.Of is SERVICE_UNKNOWN"):
            await say(made)


async def test_health_is_that_of_a_service_of_ours(start_server: StartServer) -> None:
    server = start_server("tests.apps.workers:app")
    service = "blazerpc.InferenceService"
    async with BlazeClient(target=server.target, health=service) as client:
        assert await client.predict("pid") == server.process.pid


@pytest.mark.skipif(not OWN, reason="grpclib's HTTP/2 fails all calls of a connection at a GOAWAY")
async def test_no_call_fails_when_a_server_closes_its_connections_again_and_again() -> None:
    with peers(1, "grpc.max_connection_age_ms=60", "grpc.max_connection_age_grace_ms=20000") as (
        peer,
    ):
        async with channel(peer.target) as made:
            load = Load(made, 8)
            connections: set[int] = set()
            kept: list[object] = []
            async with asyncio.timeout(40):
                while len(kept) < 8:
                    for connection in made.connections:
                        if id(connection) not in connections:
                            kept.append(connection)  # so that no other has its id
                            connections.add(id(connection))
                    await asyncio.sleep(0.005)
                await load.stop()
            for _ in range(20):
                await repeat(made, [])
                await asyncio.sleep(0.01)
    assert load.failures == []


async def test_a_client_in_a_process_of_its_own_leaves_nothing_behind(peer: Peer) -> None:
    code = f"""
import asyncio, json
from google.protobuf.wrappers_pb2 import StringValue
from blazerpc_client import BlazeClient
async def main():
    async with BlazeClient(target=["{peer.target}", "{unused_address()}"], health=True) as client:
        await client._channel.unary(*call)
    await asyncio.sleep(0)
    print(len(asyncio.all_tasks()))
from tests.integration.reach import SAY, CALL
call = (SAY, StringValue(value="{{}}"), CALL)
asyncio.run(main(), debug=True)
"""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("1", "")
