"""Blocking clients: the same methods, in a program without an event loop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blazerpc_client import (
    Backoff,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    RetryPolicy,
    Unavailable,
)
from tests.conftest import ROOT, ServerProcess
from tests.integration.conftest import blaze, imported


@pytest.fixture(scope="module")
def directory(models: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sync")
    done = blaze(
        "client", "gen", "--from", models.target, "--out", str(directory), "--sync",
        "--package", "blocking", "--project", "--project-version", "1.2.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def client(models: ServerProcess, directory: Path) -> Iterator[Any]:
    with imported(directory, "blocking").SyncInferenceClient(models.target, timeout=20) as client:
        yield client


def test_a_client_of_several_servers_waits_and_tries_again(
    models: ServerProcess, directory: Path
) -> None:
    make = imported(directory, "blocking").SyncInferenceClient
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"127.0.0.1:{listener.getsockname()[1]}"
    options = {"health": True, "retry": RetryPolicy(), "backoff": Backoff(initial=0.01)}
    with make([nobody, models.target], timeout=20, wait_for_ready=True, **options) as client:
        assert client.predict_greet(name="a", times=1) == "a"
    with make(nobody, timeout=20) as client:
        with pytest.raises(Unavailable):
            client.predict_greet(name="a", times=1)
        patient = client.with_options(timeout=0.1, wait_for_ready=True)
        with pytest.raises(DeadlineExceeded, match="cannot reach"):
            patient.predict_greet(name="a", times=1)


def test_the_package_is_typed_and_formatted(directory: Path) -> None:
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    for command in (["ruff", "format", "--isolated", "--check"], ["mypy", "--strict"]):
        done = subprocess.run(
            [sys.executable, "-m", *command, "blocking"],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_project_can_be_built(directory: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.iterdir()
    assert wheel.name == "blocking-1.2.0-py3-none-any.whl"
    target = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--target", str(target), str(wheel)],
        check=True,
    )  # fmt: skip
    installed = {path.name for path in (target / "blocking").iterdir() if path.is_file()}
    assert installed == {"__init__.py", "client.py", "messages.py", "py.typed", "schema.binpb"}
    metadata = (target / "blocking-1.2.0.dist-info" / "METADATA").read_text()
    assert "Requires-Dist: blazerpc[sync]>=" in metadata


def test_a_call_returns_its_result(client: Any) -> None:
    assert client.predict_greet(name="ab", times=2) == "abab"
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    weights = np.array([1, 2], np.float32)
    assert client.predict_sum_rows(x=x, weights=weights).tolist() == [6.0, 44.0]


def test_a_stream_is_an_iterator(client: Any) -> None:
    results = client.predict_count(to=3, fail_at=-1)
    assert next(results) == 0
    assert list(results) == [1, 2]


def test_a_stream_can_be_left_early(client: Any) -> None:
    for result in client.predict_count(to=10**6, fail_at=-1):
        assert result == 0
        break
    assert client.predict_greet(name="a", times=1) == "a"


def test_errors_are_those_of_the_asynchronous_client(client: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.predict_greet(name=1, times=2)
    assert caught.value.field == "name"
    with pytest.raises(InvalidArgument):
        client.predict_count(to="x", fail_at=-1)  # at once, and not at the first item
    with pytest.raises(Internal):
        client.predict_fail(how="raise")
    with pytest.raises(DeadlineExceeded):
        client.with_options(timeout=0.0).predict_greet(name="a", times=1)


def test_threads_share_a_client(client: Any) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda n: client.predict_greet(name="a", times=n), range(50)))
    assert results == ["a" * n for n in range(50)]


def test_a_closed_client_has_no_thread_and_makes_no_calls(
    models: ServerProcess, directory: Path
) -> None:
    before = threading.active_count()
    client = imported(directory, "blocking").SyncInferenceClient(models.target)
    assert client.predict_greet(name="a", times=1) == "a"
    client.close()
    client.close()
    assert threading.active_count() == before
    with pytest.raises(FailedPrecondition, match="the client is closed"):
        client.predict_greet(name="a", times=1)


def test_a_server_that_is_not_there(directory: Path) -> None:
    with (
        imported(directory, "blocking").SyncInferenceClient("127.0.0.1:1") as client,
        pytest.raises(Unavailable),
    ):
        client.predict_greet(name="a", times=1)


def test_a_program_that_forgets_to_close_ends(models: ServerProcess, directory: Path) -> None:
    program = (
        "import sys, blocking\n"
        "client = blocking.SyncInferenceClient(sys.argv[1])\n"
        "print(client.predict_greet(name='a', times=2))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, models.target],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "aa\n"), done.stderr


def test_without_anyio_the_extra_is_named(models: ServerProcess, directory: Path) -> None:
    program = "import sys; sys.modules['anyio'] = None; import blocking"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith(
        "ImportError: blocking clients need anyio: pip install 'blazerpc[sync]'\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--project-version", "one"], "'one' is no version of a project; 1.2.0 is one"),
        (["--package", "_x"], "a project cannot be called '_x'"),
    ],
)
def test_a_project_that_cannot_be_built_is_refused(
    models: ServerProcess, tmp_path: Path, options: list[str], message: str
) -> None:
    done = blaze(
        "client", "gen", "--from", models.target, "--out", str(tmp_path), "--project", *options
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_project_of_somebody_elses_is_left_alone(models: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    done = blaze("client", "gen", "--from", models.target, "--out", str(tmp_path), "--project")
    assert done.returncode == 1
    assert "pyproject.toml was not generated" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pyproject.toml"]
    assert (tmp_path / "pyproject.toml").read_text() == "[project]\n"
