"""The command line in a process of its own: exit codes, and one line for what a user can mend."""

from __future__ import annotations

import socket
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from tests.integration.conftest import blaze

MODULE = """
from blazerpc import BlazeApp

app = BlazeApp("mine")
empty = BlazeApp()
number = 3

@app.model("double")
def double(x: int) -> int:
    return 2 * x

class Holder:
    app = app
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("\n1 / 0\n")
    (tmp_path / "wrong.py").write_text("def (:\n")
    (tmp_path / "needy.py").write_text("import not_installed_anywhere\n")
    (tmp_path / "refused.py").write_text(
        "from blazerpc import BlazeApp\napp = BlazeApp()\n"
        "@app.model('bad')\ndef bad(x: set[int]) -> int: return 0\n"
    )
    return tmp_path


def failed(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line of an error."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", ["serve", "proto"])
@pytest.mark.parametrize(
    ("app", "code", "message"),
    [
        ("mine", 2, "error: 'mine' has not the form module:attribute, like app:app"),
        (":app", 2, "error: ':app' has not the form module:attribute, like app:app"),
        ("mine:", 2, "error: 'mine:' has not the form module:attribute, like app:app"),
        ("nowhere:app", 2, "error: no module named nowhere here or installed"),
        ("nowhere.inside:app", 2, "error: no module named nowhere here or installed"),
        ("mine:other", 2, "error: module mine has no attribute other"),
        ("mine:number", 2, "error: mine:number is a int, not a BlazeApp"),
        ("broken:app", 1, "error: importing broken failed: ZeroDivisionError: division by zero"),
        ("wrong:app", 1, "error: importing wrong failed: SyntaxError"),
        ("needy:app", 1, "error: importing needy failed: ModuleNotFoundError: No module named"),
        ("refused:app", 1, "error: model 'bad', parameter 'x': set[int] is not supported; use"),
    ],
)
def test_what_leads_to_no_app_is_one_line(
    here: Path, command: str, app: str, code: int, message: str
) -> None:
    assert failed(blaze(command, app, cwd=here), code).startswith(message)


def test_an_app_without_models_cannot_be_served(here: Path) -> None:
    line = failed(blaze("serve", "mine:empty", cwd=here), 1)
    assert line == "error: app 'blazerpc' has no models; register one to serve it"


def test_a_port_in_use_is_one_line(here: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = blaze("serve", "mine:app", "--port", str(port), cwd=here)
    line = failed(done, 1)
    assert line.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
    assert "in use" in line


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--port", "65536", "port is 65536"),
        ("--port", "-1", "port is -1"),
        ("--grace", "-1", "grace_period is -1"),
        ("--workers", "0", "workers is 0"),
    ],
)
def test_an_option_out_of_range_is_one_line(
    here: Path, option: str, value: str, message: str
) -> None:
    line = failed(blaze("serve", "mine:app", option, value, cwd=here), 2)
    assert message in line


@pytest.mark.parametrize(
    "arguments",
    [["serve"], ["serve", "mine:app", "--port", "many"], ["nothing"], ["client", "gen"]],
)
def test_a_command_that_is_called_wrongly_shows_its_usage(here: Path, arguments: list[str]) -> None:
    done = blaze(*arguments, cwd=here)
    assert done.returncode == 2
    assert "Usage: " in done.stderr
    assert "Traceback" not in done.stderr


def test_it_says_its_version() -> None:
    done = blaze("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"blaze {metadata.version('blazerpc')}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["serve", "proto", "client"]),
        (
            ["serve"],
            ["MODULE:ATTR", "--host", "127.0.0.1", "--port", "50051", "--grace", "--workers"],
        ),
        (["serve"], ["--reload"]),
        (["proto"], ["MODULE:ATTR", "--output-dir"]),
        (["client"], ["gen"]),
        (["client", "gen"], ["--from", "--out", "--package", "--service"]),
    ],
)
def test_help_is_enough(arguments: list[str], words: list[str]) -> None:
    done = blaze(*arguments, "--help")
    assert done.returncode == 0
    for word in words:
        assert word in done.stdout


def test_the_schema_is_written(here: Path) -> None:
    done = blaze("proto", "mine:app", "--output-dir", "schema", cwd=here)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "wrote schema/blaze_service.proto",
        "wrote schema/blazerpc/options.proto",
    ]
    text = (here / "schema/blaze_service.proto").read_text()
    assert "rpc PredictDouble(DoubleRequest) returns (DoubleResponse)" in text
    assert (here / "schema/blazerpc/options.proto").is_file()


def test_an_attribute_of_an_attribute_is_found(here: Path) -> None:
    assert blaze("proto", "mine:Holder.app", cwd=here).returncode == 0


def test_a_lock_is_kept_and_served(here: Path) -> None:
    done = blaze("proto", "mine:app", "--output-dir", "schema", "--lock", "my.lock", cwd=here)
    assert done.stdout.splitlines()[-1] == "wrote my.lock"
    assert (
        blaze("client", "gen", "--from", "mine:app", "--lock", "my.lock", cwd=here).returncode == 0
    )
    (here / "mine.py").write_text(MODULE.replace("x: int", "y: int, x: str"))
    line = failed(blaze("serve", "mine:app", "--lock", "my.lock", cwd=here), 1)
    assert line.startswith(
        "error: DoubleRequest.x is string, and locked as int64; give the new one"
    )
    line = failed(blaze("proto", "mine:app", "--lock", "my.lock", cwd=here), 1)
    assert line.startswith("error: DoubleRequest.x is string, and locked as int64")
    (here / "mine.py").write_text(MODULE.replace("x: int", "y: int, x: int"))
    line = failed(blaze("serve", "mine:app", "--lock", "my.lock", cwd=here), 1)
    assert line.startswith("error: the schema has what its lock has not; run blaze proto --lock")
    line = failed(blaze("serve", "mine:app", "--lock", "no.lock", cwd=here), 1)
    assert line == "error: [Errno 2] No such file or directory: 'no.lock'"
