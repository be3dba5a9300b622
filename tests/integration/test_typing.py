"""Type checkers on the files of tests/typing: an error on each line marked `# E:`, and no other.

The text after the mark is mypy's; basedpyright has its own words for the same lines.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/typing/*.py"))
REPORT = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)$")

#: What has tensors without npt.NDArray, which mypy's plugin alone can read.
FOR_THE_PLUGIN = "tests/typing/server.py"

#: The oldest mypy that is supported; `make setup` puts it there.
OLDEST = Path(sys.prefix) / "oldest-mypy"


def reports_of_mypy(*arguments: str, path: Path | None = None) -> dict[tuple[str, int], str]:
    """Return what mypy says, by file and line."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--exclude", "^$", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(path)} if path else None,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    reports: dict[tuple[str, int], str] = {}
    for match in map(REPORT.match, done.stdout.splitlines()):
        if match is not None:
            place = match["file"], int(match["line"])
            reports[place] = f"{reports.get(place, '')} {match['text']}"
    return reports


@pytest.fixture(scope="module")
def reported() -> dict[tuple[str, int], str]:
    """What the newest mypy says."""
    return reports_of_mypy(*FILES)


def marked(file: str) -> dict[int, str]:
    """Return what is expected to be said, by line."""
    lines = (ROOT / file).read_text().splitlines()
    return {
        number: line.partition("# E: ")[2]
        for number, line in enumerate(lines, start=1)
        if "# E: " in line
    }


@pytest.mark.parametrize("file", FILES)
def test_errors_are_where_they_are_expected_and_nowhere_else(
    file: str, reported: dict[tuple[str, int], str]
) -> None:
    expected = marked(file)
    found = {line: text for (where, line), text in reported.items() if where == file}
    assert sorted(found) == sorted(expected), found
    for line, text in expected.items():
        assert text in found[line], f"{file}:{line}"


@pytest.mark.timeout(240)  # without mypyc, and without a cache the first time
def test_the_oldest_mypy_finds_the_same_errors() -> None:
    assert OLDEST.is_dir(), "run `make setup`"
    found = reports_of_mypy("--cache-dir", str(OLDEST / ".cache"), *FILES, path=OLDEST)
    assert sorted(found) == sorted((file, line) for file in FILES for line in marked(file))


def test_without_the_plugin_the_same_is_known(tmp_path: Path) -> None:
    files = [file for file in FILES if file != FOR_THE_PLUGIN]
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nmypy_path = src:stubs\n")
    found = reports_of_mypy("--config-file", str(config), "--strict", *files)
    assert sorted(found) == sorted((file, line) for file in files for line in marked(file))


def basedpyright(*arguments: str) -> Any:
    """Return basedpyright's report, run where the packages are installed."""
    binaries = Path(sys.executable).parent
    done = subprocess.run(
        [str(binaries / "basedpyright"), "--outputjson", *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    return json.loads(done.stdout)


def test_basedpyright_agrees() -> None:
    files = [file for file in FILES if file != FOR_THE_PLUGIN]
    report = basedpyright(*files, "stubs")
    found = {
        (Path(said["file"]).relative_to(ROOT).as_posix(), said["range"]["start"]["line"] + 1)
        for said in report["generalDiagnostics"]
        if said["severity"] == "error"
    }
    expected = {(file, line) for file in files for line in marked(file)}
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("package", ["blazerpc", "blazerpc_client"])
def test_the_public_types_are_complete(package: str) -> None:
    report = basedpyright("--verifytypes", package, "--ignoreexternal")["typeCompleteness"]
    assert report["pyTypedPath"]
    unknown = [symbol["name"] for symbol in report["symbols"] if not symbol["isTypeKnown"]]
    assert unknown == []
    assert report["completenessScore"] == 1
