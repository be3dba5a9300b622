"""``blaze health`` as a container runs it: exit code, one line, and little to import."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import ServerProcess, StartServer
from tests.integration.conftest import blaze, foreign_server
from tests.unit.blazerpc_client.servers import serving_handlers


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server("tests.apps.cli:app")


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    with foreign_server() as target:
        yield target


@pytest.mark.parametrize(
    "options", [[], ["--service", "blazerpc.InferenceService"], ["--service", "greet:2"]]
)
def test_a_server_that_takes_calls(server: ServerProcess, options: list[str]) -> None:
    done = blaze("health", server.target, *options)
    assert (done.returncode, done.stdout, done.stderr) == (0, "SERVING\n", "")


def test_a_service_that_takes_none(foreign: str) -> None:
    assert blaze("health", foreign).returncode == 0
    done = blaze("health", foreign, "--service", "zoo")
    assert (done.returncode, done.stdout, done.stderr) == (1, "NOT_SERVING\n", "")


def assert_failed(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {message}")


def test_whatever_else_is_one_line_and_exit_code_1(server: ServerProcess) -> None:
    done = blaze("health", server.target, "--service", "nothing")
    assert_failed(done, f"{server.target} knows no health of 'nothing'")
    done = blaze("health", "127.0.0.1:1")
    assert_failed(done, "cannot reach 127.0.0.1:1: Connect call failed")
    assert_failed(blaze("health", "localhost"), "'localhost' is no address; it has the form")
    assert_failed(blaze("health", server.target, "--timeout", "-1"), "timeout: -1.0 is out of")


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = blaze("health", f"127.0.0.1:{port}", "--timeout", "0.3")
    assert_failed(done, "deadline exceeded")


async def test_a_server_without_health() -> None:
    async with serving_handlers() as target:
        done = await asyncio.to_thread(blaze, "health", target)
    assert_failed(done, f"{target} has no health service")


def test_called_wrongly_it_shows_its_usage(server: ServerProcess) -> None:
    for arguments in ([], [server.target, "--timeout", "soon"], [server.target, "--nothing"]):
        done = blaze("health", *arguments)
        assert done.returncode == 2
        assert "usage: blaze health" in done.stderr


def test_the_whole_command_line_has_it_too(server: ServerProcess) -> None:
    code = (
        f"from blazerpc.cli.main import cli; cli(['health', {server.target!r}, '--service', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert_failed(done, f"{server.target} knows no health of 'x'")
    help_text = blaze("--help").stdout
    assert "health" in help_text
    assert "--service" in blaze("health", "--help").stdout


def test_it_imports_little(server: ServerProcess) -> None:
    code = (
        "import sys; from blazerpc.cli.__main__ import main\n"
        f"sys.argv = ['blaze', 'health', {server.target!r}]\n"
        "try: main()\n"
        "finally: print(*sorted({name.partition('.')[0] for name in sys.modules} & {'numpy', "
        "'betterproto2', 'jinja2', 'prometheus_client', 'pydantic', 'rich', 'typer', 'uvloop'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "SERVING\n\n"
