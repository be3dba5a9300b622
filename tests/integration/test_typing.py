"""mypy on the files of tests/typing: an error on each line marked `# E:`, and nowhere else."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/typing/*.py"))
REPORT = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)$")


@pytest.fixture(scope="module")
def reported() -> dict[tuple[str, int], str]:
    """What mypy says, by file and line."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--exclude", "^$", *FILES],
        cwd=ROOT,
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


@pytest.mark.parametrize("file", FILES)
def test_errors_are_where_they_are_expected_and_nowhere_else(
    file: str, reported: dict[tuple[str, int], str]
) -> None:
    lines = (ROOT / file).read_text().splitlines()
    expected = {
        number: line.partition("# E: ")[2]
        for number, line in enumerate(lines, start=1)
        if "# E: " in line
    }
    found = {line: text for (where, line), text in reported.items() if where == file}
    assert sorted(found) == sorted(expected), found
    for line, text in expected.items():
        assert text in found[line], f"{file}:{line}"
