"""The documentation's commands are run, and print what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.main import get_command

from blazerpc.cli.main import cli
from blazerpc_client import Limits
from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.conftest import blaze

DOCUMENT = (ROOT / "docs/cli.md").read_text()
SESSIONS = re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
APP = re.search(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cli")
    assert APP is not None
    (directory / "app.py").write_text(APP[1])
    return directory


@pytest.fixture(scope="module")
def server(directory: Path, start_module_server: StartServer) -> ServerProcess:
    return start_module_server("app:app", directory=directory)


@pytest.mark.parametrize("session", SESSIONS, ids=range(len(SESSIONS)))
def test_a_session_is_what_happens(session: str, directory: Path, server: ServerProcess) -> None:
    commands = re.findall(r"^\$ (.*)$", session, re.MULTILINE)
    # Each is shown before it is run, as a terminal would.
    script = "\n".join(f"echo {shlex.quote(f'$ {c}')}\n{c}" for c in commands)
    done = subprocess.run(
        ["bash", "-c", script.replace("localhost:50051", server.target)],
        cwd=directory,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "100",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.stdout.replace(server.target, "localhost:50051") == session


def options(command: object, name: str = "blaze") -> Iterator[tuple[str, str]]:
    """Yield each option of each command, with the command's name."""
    for parameter in getattr(command, "params", ()):
        for option in getattr(parameter, "opts", ()):
            if option.startswith("-") and option != "--help":
                yield name, option
    for inner, child in getattr(command, "commands", {}).items():
        yield from options(child, f"{name} {inner}")


OPTIONS = [*options(get_command(cli))]


def test_there_are_options() -> None:
    assert {name for name, _ in OPTIONS} > {"blaze call", "blaze client gen", "blaze serve"}


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_every_option_is_documented(command: str, option: str) -> None:
    parts = re.split(r"^## ", DOCUMENT, flags=re.MULTILINE)
    if command == "blaze":
        section = parts[0]
    else:
        (section,) = [part for part in parts if command in part.splitlines()[0]]
    assert f"`{option}" in section


def test_every_option_of_health_is_documented() -> None:
    for option in set(re.findall(r"--[a-z]+", blaze("health", "--help").stdout)) - {"--help"}:
        assert f"`{option}" in DOCUMENT.partition("## blaze health")[2]


def test_every_limit_is_documented_with_its_default() -> None:
    document = (ROOT / "docs/server.md").read_text()
    for name, limit in asdict(Limits()).items():
        given = f"{limit['burst']}/{limit['per_second']}" if isinstance(limit, dict) else limit
        assert f"| `{name}` | {'none' if limit is None else given} |" in document
