"""What a running server tells: metrics of one process and of several, and its log."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from blazerpc_client import BlazeClient, RpcError, Unavailable
from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.conftest import blaze

APP = "tests.apps.observed:app"
ECHO = "/blazerpc.InferenceService/PredictEcho"
SECRET = "hunter2"
DASHBOARD = ROOT / "deploy/grafana/blazerpc.json"


def metrics_url(server: ServerProcess) -> str:
    (line,) = [line for line in server.banner.splitlines() if line.startswith("Metrics on ")]
    return line.split()[-1]


class Scrape:
    """What the endpoint says."""

    def __init__(self, server: ServerProcess) -> None:
        with urllib.request.urlopen(metrics_url(server)) as response:
            text = response.read().decode()
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the samples with these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


async def call_each(target: str, model: str, *, clients: int, calls: int) -> None:
    """Call with several connections, which different workers may have accepted."""
    host, _, port = target.rpartition(":")

    async def one() -> None:
        async with BlazeClient(host, int(port)) as client:
            for _ in range(calls):
                assert await client.predict(model, text="abc") == "abc"

    await asyncio.gather(*(one() for _ in range(clients)))


def until(server: ServerProcess, holds: Callable[[Scrape], bool]) -> Scrape:
    """Read the metrics until they say so, which nothing announces."""
    end = time.monotonic() + 20
    while not holds(scrape := Scrape(server)):
        assert time.monotonic() < end, scrape.samples
        time.sleep(0.05)
    return scrape


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_totals_are_the_calls_that_were_made(start_server: StartServer, workers: str) -> None:
    server = start_server(APP, "--metrics-port", "0", "--workers", workers)
    asyncio.run(call_each(server.target, "echo", clients=8, calls=10))
    scrape = Scrape(server)
    assert scrape.value("blazerpc_requests_total", method=ECHO, status="OK") == 80
    assert scrape.value("blazerpc_request_duration_seconds_count", method=ECHO) == 80
    assert scrape.value("blazerpc_request_duration_seconds_bucket", method=ECHO, le="+Inf") == 80
    assert scrape.value("blazerpc_request_size_bytes_sum", method=ECHO) == 80 * 5
    assert scrape.value("blazerpc_response_size_bytes_sum", method=ECHO) == 80 * 5
    assert scrape.value("blazerpc_queue_wait_seconds_count", model="echo", version="1") == 80
    assert scrape.value("blazerpc_batch_size_sum", model="echo") == 80
    assert scrape.value("blazerpc_requests_in_flight", method=ECHO) == 0
    assert scrape.value("blazerpc_queue_depth", model="echo") == 0
    assert server.stop()[0] == 0


def test_a_worker_that_died_stays_in_the_totals_and_is_in_nothing_that_goes_on(
    start_server: StartServer,
) -> None:
    server = start_server(APP, "--metrics-port", "0", "--workers", "2")
    asyncio.run(call_each(server.target, "echo", clients=8, calls=5))
    assert Scrape(server).value("blazerpc_worker_restarts_total") == 0
    with pytest.raises(Unavailable):
        asyncio.run(die(server))
    scrape = until(server, lambda scrape: scrape.value("blazerpc_worker_restarts_total") == 1)
    assert scrape.value("blazerpc_requests_total", method=ECHO, status="OK") == 40
    # The call that it died of never ends.
    assert scrape.value("blazerpc_requests_in_flight") == 0
    asyncio.run(call_each(server.target, "echo", clients=8, calls=5))
    assert Scrape(server).value("blazerpc_requests_total", method=ECHO, status="OK") == 80


async def die(server: ServerProcess) -> None:
    async with BlazeClient("127.0.0.1", server.port) as client:
        await client.predict("die", text="")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_of_metrics_that_is_taken_is_one_line(
    start_server: StartServer, workers: str
) -> None:
    taken = start_server(APP)
    done = blaze(
        "serve", APP, "--port", "0", "--metrics-port", str(taken.port), "--workers", workers
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"error: cannot serve metrics on 127.0.0.1:{taken.port}: Address already in use\n"
    )


def test_without_the_option_there_are_no_metrics(start_server: StartServer) -> None:
    assert "Metrics" not in start_server(APP).banner


def test_the_dashboard_shows_what_exists_and_all_of_it(start_server: StartServer) -> None:
    server = start_server(APP, "--metrics-port", "0", "--workers", "2")
    asyncio.run(call_each(server.target, "echo", clients=1, calls=1))
    scrape = Scrape(server)
    there = {sample.name for sample in scrape.samples}
    text = DASHBOARD.read_text()
    used = set(re.findall(r"\bblazerpc_\w+", text))
    assert used <= there
    # Of a histogram some series will do.
    families = {family.name for family in scrape.families}
    assert families == {family for family in families if any(n.startswith(family) for n in used)}


def test_the_dashboard_is_one() -> None:
    board = json.loads(DASHBOARD.read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in panels:
        assert panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        expressions = [target["expr"] for target in panel["targets"]]
        for one in expressions:
            assert (one.count("("), one.count("{")) == (one.count(")"), one.count("}"))
    # Labels that queries group or filter by are labels that there are.
    known = {"method", "status", "model", "version", "reason", "le"}
    grouped = re.findall(r"by \(([^)]*)\)", DASHBOARD.read_text())
    assert {label.strip() for labels in grouped for label in labels.split(",")} <= known


def json_lines(errors: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in errors.splitlines()]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_log_is_json_when_it_is_to_be(start_server: StartServer, workers: str) -> None:
    server = start_server(APP, "--log-format", "json", "--workers", workers)
    options: dict[str, str | bytes] = {"x-request-id": "r-1"}
    asyncio.run(ask(server, "echo", options))
    asyncio.run(ask(server, "tell", options))
    asyncio.run(ask(server, "fail", options))
    code, errors = server.stop()
    assert code == 0
    lines = json_lines(errors)
    assert all({"time", "level", "logger", "message", "pid"} <= line.keys() for line in lines)
    echo, tell, fail = (
        line
        for line in lines
        if line["logger"] == "blazerpc.access" and "Predict" in line["method"]
    )
    assert (echo["method"], echo["status"], echo["request_id"]) == (ECHO, "OK", "r-1")
    assert (echo["request_bytes"], echo["batch_size"], tell["status"]) == (5, 1, "OK")
    assert fail["status"] == "INTERNAL"
    # What a call makes others log names it, and a traceback is in its line.
    (told,) = [line for line in lines if line["logger"] == "model"]
    assert told["request_id"] == "r-1"
    (failed,) = [line for line in lines if line["level"] == "ERROR"]
    assert failed["request_id"] == "r-1"
    assert "ValueError: abc" in failed["exception"]


async def ask(server: ServerProcess, model: str, metadata: dict[str, str | bytes]) -> str:
    """Call a model, and return what its caller is told."""
    async with BlazeClient("127.0.0.1", server.port) as client:
        try:
            return str(await client.with_options(metadata=metadata).predict(model, text="abc"))
        except RpcError as error:
            return f"{error!r} {error} {error.details} {error.trailing_metadata}"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_secret_in_metadata_is_in_no_line_and_no_error(
    start_server: StartServer, form: str
) -> None:
    server = start_server(APP, "--log-level", "debug", "--log-format", form)
    for model in "echo", "tell", "fail", "spoil":
        metadata: dict[str, str | bytes] = {
            "authorization": f"Bearer {SECRET}",
            "token-bin": SECRET.encode(),
            "x-request-id": f"{SECRET} {SECRET}",
        }
        assert SECRET not in asyncio.run(ask(server, model, metadata))
    code, errors = server.stop()
    assert code == 0
    # It did log at debug, what the models were called, and that two of them failed.
    assert "DEBUG" in errors
    assert "'authorization': ..." in errors
    assert "PredictSpoil INTERNAL" in errors
    assert errors.count("error id") == 2
    assert SECRET not in errors
    assert SECRET.encode().hex() not in errors


PROGRAM = f"""
import asyncio, logging, sys
from blazerpc import BlazeApp, BlazeClient, ServeOptions

logging.basicConfig(level=logging.DEBUG)
app = BlazeApp()


@app.model("double")
def double(x: int) -> int:
    return 2 * x


async def main() -> None:
    server = app.server(ServeOptions(port=0, http=sys.argv[1]))
    await server.listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.wait())
    metadata = {{"authorization": "Bearer {SECRET}"}}
    async with BlazeClient("127.0.0.1", server.port, http=sys.argv[1]) as client:
        assert await client.with_options(metadata=metadata).predict("double", x=2) == 4
    await server.stop()
    await serving


asyncio.run(main())
"""


@pytest.mark.parametrize("http", ["blaze", "h2"])
def test_a_program_that_logs_everything_logs_no_secret(http: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, http], capture_output=True, text=True, check=True
    )
    assert "DEBUG:" in done.stderr
    assert SECRET not in done.stderr


def test_a_level_leaves_out_what_is_below(start_server: StartServer) -> None:
    server = start_server(APP, "--log-level", "warning")
    asyncio.run(ask(server, "echo", {}))
    assert server.stop() == (0, "")


def test_calls_are_logged_unless_told_otherwise(start_server: StartServer) -> None:
    server, silent = start_server(APP), start_server(APP, "--no-access-log")
    for each in server, silent:
        asyncio.run(ask(each, "echo", {}))
    assert f"INFO blazerpc.access: {ECHO} OK " in server.stop()[1]
    assert "PredictEcho" not in silent.stop()[1]


@pytest.mark.parametrize("option", ["--log-level=loud", "--log-format=xml", "--metrics-port=x"])
def test_an_option_that_cannot_be_is_a_mistake_of_the_caller(option: str) -> None:
    done = blaze("serve", APP, option)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_port_out_of_range_is_named() -> None:
    done = blaze("serve", APP, "--metrics-port", "70000")
    assert done.stderr == "error: metrics_port is 70000; it must be 0 to 65535\n"
    assert done.returncode == 2
