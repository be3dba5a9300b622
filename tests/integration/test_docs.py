"""The documentation's Python is run, in order; its app is served, its client generated."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.authorities import Files
from tests.conftest import ROOT, StartServer
from tests.integration.conftest import blaze, http_of
from tests.integration.peers import program

DOCUMENTS = [
    "README.md",
    "docs/server.md",
    "docs/client.md",
    "docs/connections.md",
    "docs/cli.md",
    "docs/observability.md",
    "docs/security.md",
    "docs/frameworks.md",
    "docs/oip.md",
    "docs/ray.md",
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATE = re.compile(r"^blaze (client gen --from localhost:50051 --.*)$", re.MULTILINE)
SESSION = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
APP = "# app.py\n"
HTTP = "localhost:8000"
CONFLICT = re.compile("^(<{7}|={7}|>{7})( |$)", re.MULTILINE)


def test_every_document_is_tested() -> None:
    found = {path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]}
    with_code = {str(path) for path in found if "```python" in (ROOT / path).read_text()}
    assert with_code == set(DOCUMENTS)
    # A merge that nobody has mended: tools read Python, and nothing else reads prose.
    assert not [path for path in found if CONFLICT.search((ROOT / path).read_text())]


def generate_others(document: str, target: str, directory: Path) -> None:
    """Generate the other clients that a document generates."""
    for command in GENERATE.findall((ROOT / document).read_text()):
        arguments = command.replace("localhost:50051", target).split()
        done = blaze(*arguments, cwd=directory)
        assert done.returncode == 0, done.stderr


def write_certificates(directory: Path) -> None:
    """Write the files that a document reads: an authority's, a server's and alice's."""
    files = Files(directory)
    for source, name in (
        (files.ours.ca, "ca.pem"),
        (files.server.cert, "server.crt"),
        (files.server.key, "server.key"),
        (files.alice.cert, "alice.crt"),
        (files.alice.key, "alice.key"),
    ):
        source.rename(directory / name)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_examples_run(document: str, tmp_path: Path, start_server: StartServer) -> None:
    app, *blocks = BLOCK.findall((ROOT / document).read_text())
    assert app.startswith(APP)
    (tmp_path / "app.py").write_text(app)
    write_certificates(tmp_path)
    with_http = any(HTTP in block for block in blocks)
    options = ("--http-port", "0") if with_http else ()
    server = start_server("app:app", *options, directory=tmp_path)
    done = blaze("client", "gen", "--from", server.target, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    generate_others(document, server.target, tmp_path)
    for block in blocks:
        code = block.replace("localhost:50051", server.target).replace("50051", str(server.port))
        run(code.replace(HTTP, http_of(server)) if with_http else code, tmp_path)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_examples_are_typed(document: str, tmp_path: Path, start_server: StartServer) -> None:
    app, *blocks = BLOCK.findall((ROOT / document).read_text())
    (tmp_path / "app.py").write_text(app)
    server = start_server("app:app", directory=tmp_path)
    assert blaze("client", "gen", "--from", server.target, cwd=tmp_path).returncode == 0
    generate_others(document, server.target, tmp_path)
    for number, block in enumerate(blocks):
        (tmp_path / f"block_{number}.py").write_text(block)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "."],
        cwd=tmp_path,
        # One cache for all documents: most of the time goes to numpy's stubs.
        env={
            **os.environ,
            "MYPYPATH": str(ROOT / "src"),
            "MYPY_CACHE_DIR": str(tmp_path.parent / "mypy"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_what_curl_is_answered_is_what_is_said(tmp_path: Path, start_server: StartServer) -> None:
    program("curl", "curl")
    text = (ROOT / "docs/oip.md").read_text()
    (tmp_path / "app.py").write_text(BLOCK.findall(text)[0])
    server = start_server("app:app", "--http-port", "0", directory=tmp_path)
    (session,) = SESSION.findall(text)
    calls = session.split("$ ")[1:]
    for call in calls:
        command, said = re.split(r"(?<=')\n", call, maxsplit=1)
        done = subprocess.run(
            ["bash", "-c", command.replace(HTTP, http_of(server))],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == said
    assert len(calls) == 3


def run(code: str, directory: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
