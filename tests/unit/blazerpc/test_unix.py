from __future__ import annotations

import socket
from pathlib import Path

import pytest

from blazerpc.unix import UnixSocket


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socket"


def left_behind(path: Path) -> None:
    """Leave a socket's file that nobody listens at, as a server that was killed does."""
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_it_listens_at_once_and_its_file_is_removed(path: Path) -> None:
    made = UnixSocket(str(path))
    with made.socket:
        connect(path)
    made.remove()
    assert not path.exists()


def test_a_file_that_was_left_behind_is_no_obstacle(path: Path) -> None:
    left_behind(path)
    with UnixSocket(str(path)).socket:
        connect(path)


def test_a_file_that_somebody_listens_at_stays(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            UnixSocket(str(path))
        connect(path)


def test_a_file_whose_server_accepts_nobody_stays(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as waits:
        other.bind(str(path))
        other.listen(0)
        waits.connect(str(path))
        with pytest.raises(OSError, match="in use"):
            UnixSocket(str(path))
        assert path.exists()


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_another_kind_of_file_stays(path: Path, kind: str) -> None:
    if kind == "file":
        path.write_text("kept")
    else:
        path.mkdir()
    with pytest.raises(OSError, match="in use"):
        UnixSocket(str(path))
    assert path.read_text() == "kept" if kind == "file" else path.is_dir()


def test_the_file_of_the_next_server_stays(path: Path) -> None:
    first = UnixSocket(str(path))
    with first.socket:
        path.rename(path.with_suffix(".old"))  # its inode is not given out again meanwhile
        with UnixSocket(str(path)).socket:
            first.remove()
            connect(path)


def test_a_file_that_is_gone_is_no_error(path: Path) -> None:
    made = UnixSocket(str(path))
    with made.socket:
        path.unlink()
        made.remove()


@pytest.mark.parametrize("name", ["missing/socket", "x" * 200])
def test_a_path_that_cannot_be_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"No such file|too long"):
        UnixSocket(str(tmp_path / name))
