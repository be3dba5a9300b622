from __future__ import annotations

from pathlib import Path

import pytest

from blazerpc_client.codegen import NotOursError, write_package
from blazerpc_client.codegen.generate import MARKER

FILES = {"__init__.py": MARKER.encode() + b"\n", "client.py": b"new\n", "py.typed": b""}


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.mark.parametrize("prepare", ["absent", "empty", "cached"])
def test_a_package_is_written(tmp_path: Path, prepare: str) -> None:
    target = tmp_path / "deep" / "package"
    if prepare != "absent":
        target.mkdir(parents=True)
    if prepare == "cached":
        (target / "__pycache__").mkdir()
    write_package(target, FILES)
    assert content(target) == FILES
    assert [path.name for path in target.parent.iterdir()] == ["package"]


def test_an_earlier_package_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "package"
    write_package(target, {**FILES, "client.py": b"old\n"})
    write_package(target, FILES)
    assert content(target) == FILES


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": b"mine"},
        {"__init__.py": b"# mine"},
        {"__init__.py": b"\xff\xfe"},
        {**FILES, "mine.py": b""},
    ],
)
def test_what_was_not_generated_is_left_alone(tmp_path: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(NotOursError, match=r"holds .*, which was not generated"):
        write_package(tmp_path, FILES)
    assert content(tmp_path) == files


@pytest.mark.parametrize("kind", ["file", "link", "broken link"])
def test_a_target_that_is_no_directory_is_refused(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "package"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(tmp_path if kind == "link" else tmp_path / "nowhere")
    with pytest.raises(NotOursError, match="is there and is no directory"):
        write_package(target, FILES)


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "package"
    write_package(target, FILES)
    with pytest.raises(OSError, match="too long"):
        # No file can have this name: the writing fails when it has begun.
        write_package(target, {**FILES, "x" * 300: b""})
    assert content(target) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
