"""``blaze client gen`` against real servers: whole, the same every time, or nothing at all."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from grpclib.health.service import Health
from grpclib.server import Server

from tests.conftest import ROOT, ServerProcess
from tests.integration.conftest import blaze

FILES = ["__init__.py", "client.py", "messages.py", "py.typed", "schema.binpb"]


def gen(target: str, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return blaze("client", "gen", "--from", target, "--out", str(out), *options)


def assert_refused(
    done: subprocess.CompletedProcess[str], out: Path, message: str, code: int = 1
) -> None:
    """Check for one line on stderr, an exit code, and nothing written."""
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert not (out / "inference_client").exists() or FILES[1] not in os.listdir(
        out / "inference_client"
    )


def test_the_package_is_whole_and_the_same_every_time(
    models: ServerProcess, tmp_path: Path
) -> None:
    packages = []
    for name in ("first", "second"):
        done = gen(models.target, tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"wrote {tmp_path / name / 'inference_client'}\n"
        package = tmp_path / name / "inference_client"
        assert sorted(os.listdir(package)) == FILES
        packages.append({file: (package / file).read_bytes() for file in FILES})
    assert packages[0] == packages[1]


def test_the_package_is_formatted_and_strictly_typed(models: ServerProcess, tmp_path: Path) -> None:
    assert gen(models.target, tmp_path).returncode == 0
    environment = {**os.environ, "MYPYPATH": str(ROOT / "src")}
    for tool in (["ruff", "format", "--isolated", "--check"], ["mypy", "--strict"]):
        done = subprocess.run(
            [sys.executable, "-m", *tool, "inference_client"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_package_of_its_own_making_is_replaced(models: ServerProcess, tmp_path: Path) -> None:
    assert gen(models.target, tmp_path).returncode == 0
    client = tmp_path / "inference_client" / "client.py"
    fresh = client.read_bytes()
    client.write_text("old")
    assert gen(models.target, tmp_path).returncode == 0
    assert client.read_bytes() == fresh
    assert os.listdir(tmp_path) == ["inference_client"]


def test_a_service_can_be_chosen(models: ServerProcess, tmp_path: Path) -> None:
    done = gen(models.target, tmp_path, "--service", "blazerpc.InferenceService")
    assert done.returncode == 0, done.stderr


def test_nobody_listening(tmp_path: Path) -> None:
    assert_refused(gen("127.0.0.1:1", tmp_path), tmp_path, "is the server running there?")


def test_no_address(tmp_path: Path) -> None:
    assert_refused(
        gen("localhost", tmp_path), tmp_path, "is no HOST:PORT, no MODULE:ATTR, and no file"
    )


def test_no_such_service(models: ServerProcess, tmp_path: Path) -> None:
    done = gen(models.target, tmp_path, "--service", "blazerpc.Nothing")
    assert_refused(
        done, tmp_path, "has no service blazerpc.Nothing; it has: blazerpc.InferenceService"
    )


def test_a_folder_that_is_not_ours(models: ServerProcess, tmp_path: Path) -> None:
    package = tmp_path / "inference_client"
    package.mkdir()
    (package / "mine.py").write_text("precious")
    done = gen(models.target, tmp_path)
    assert_refused(done, tmp_path, "holds mine.py, which was not generated; choose another")
    assert os.listdir(package) == ["mine.py"]


def test_a_package_of_ours_with_a_file_of_theirs(models: ServerProcess, tmp_path: Path) -> None:
    assert gen(models.target, tmp_path).returncode == 0
    (tmp_path / "inference_client" / "mine.py").write_text("precious")
    done = gen(models.target, tmp_path)
    assert done.returncode == 1
    assert "holds mine.py" in done.stderr
    assert (tmp_path / "inference_client" / "mine.py").read_text() == "precious"


@pytest.mark.parametrize("name", ["in-ference", "class", "a.b", "../x", ""])
def test_a_name_that_is_no_package(models: ServerProcess, tmp_path: Path, name: str) -> None:
    done = gen(models.target, tmp_path, "--package", name)
    assert_refused(done, tmp_path, "is no package name")
    assert os.listdir(tmp_path) == []


async def test_a_server_that_speaks_something_else(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done = await asyncio.to_thread(gen, target, tmp_path)
    assert_refused(done, tmp_path, target)
    assert os.listdir(tmp_path) == []


async def test_no_reflection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server([Health()])
        await server.start(sock=listener)
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        done = await asyncio.to_thread(gen, target, tmp_path)
        server.close()
        await server.wait_closed()
    assert_refused(done, tmp_path, "has no reflection service; enable it there")


def test_a_client_of_an_app_or_of_a_schema_is_that_of_its_server(
    models: ServerProcess, tmp_path: Path
) -> None:
    assert gen(models.target, tmp_path / "server").returncode == 0
    package = tmp_path / "server" / "inference_client"
    (tmp_path / "descriptors.bin").write_bytes((package / "schema.binpb").read_bytes())
    sources = {
        "app": "tests.apps.models:app",
        "file": str(package / "schema.binpb"),
        "package": str(package),
        "any": str(tmp_path / "descriptors.bin"),
    }
    for name, source in sources.items():
        done = blaze("client", "gen", "--from", source, "--out", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        other = tmp_path / name / "inference_client"
        for file in FILES:
            assert (other / file).read_bytes() == (package / file).read_bytes()


@pytest.mark.parametrize(
    ("source", "code", "message"),
    [
        ("nowhere:app", 2, "error: no module named nowhere"),
        ("nothing.binpb", 1, "error: there is no nothing.binpb"),
        (".", 1, "error: there is no schema.binpb"),
        ("README.binpb", 1, "error: README.binpb holds no schema: "),
    ],
)
def test_a_source_that_is_none(tmp_path: Path, source: str, code: int, message: str) -> None:
    (tmp_path / "README.binpb").write_text("# no schema")
    done = blaze("client", "gen", "--from", source, cwd=tmp_path)
    assert done.returncode == code
    assert done.stderr.startswith(message)
    assert len(done.stderr.splitlines()) == 1


def test_a_client_is_checked_against_its_server(models: ServerProcess, tmp_path: Path) -> None:
    assert gen(models.target, tmp_path).returncode == 0
    package = str(tmp_path / "inference_client")
    done = blaze("client", "check", package, "--from", models.target)
    assert (done.returncode, done.stdout) == (0, "same\n")
    (tmp_path / "other.py").write_text(
        "from blazerpc import BlazeApp\n"
        "app = BlazeApp()\n"
        "@app.model('other')\n"
        "def other(x: int) -> int: return x\n"
    )
    done = blaze("client", "check", package, "--from", "other:app", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "breaking"
    done = blaze("client", "check", package, "--from", "other:app", "--json", cwd=tmp_path)
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["verdict"] == "breaking"
    assert found["changes"][-1] == {
        "verdict": "compatible",
        "where": "blazerpc.InferenceService.PredictOther",
        "what": "a new method",
    }
    for options in ([], ["--json"]):
        done = blaze("client", "check", str(tmp_path), "--from", models.target, *options)
        assert done.returncode == 2
        assert "is no generated client" in done.stderr
        assert not options or "is no generated client" in json.loads(done.stdout)["error"]
