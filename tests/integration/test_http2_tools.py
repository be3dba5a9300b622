"""curl, nghttp, h2load and buf call a server as ``blaze serve`` starts it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from tests.conftest import ServerProcess
from tests.integration.attackers import first_field, harmless, message
from tests.integration.peers import output, program

pytestmark = pytest.mark.peers

ECHO = "/blazerpc.InferenceService/PredictEcho"
HEADERS = ("content-type: application/grpc", "te: trailers")

#: As of grpc-js and grpcio: none, one, whole frames, and more than a usual window.
SIZES = [0, 1, 16384, 3_000_000]


@pytest.fixture
def body(tmp_path: Path, size: int) -> Path:
    """The body of a request: one message, of so many bytes."""
    path = tmp_path / "body"
    path.write_bytes(echoed(size))
    return path


def echoed(size: int) -> bytes:
    return message(first_field(b"a" * size) if size else b"")


@pytest.mark.parametrize("size", SIZES)
async def test_curl(wire: ServerProcess, size: int, body: Path, tmp_path: Path) -> None:
    said, answer = tmp_path / "headers", tmp_path / "answer"
    command = [program("curl", "curl"), "--silent", "--show-error", "--http2-prior-knowledge"]
    for header in HEADERS:
        command += ["--header", header]
    command += ["--data-binary", f"@{body}", "--dump-header", str(said), "--output", str(answer)]
    async with harmless(wire):
        await asyncio.to_thread(output, [*command, f"http://{wire.target}{ECHO}"])
    assert answer.read_bytes() == echoed(size)
    lines = said.read_text().lower().split("\n")
    assert lines[0].startswith("http/2 200")
    # The trailers come last.
    assert lines.index("content-type: application/grpc+proto") < lines.index("grpc-status: 0")


NGHTTP = {
    "as it is": (),
    "tiny windows": ("--window-bits=1", "--connection-window-bits=16"),
    "padding": ("--padding=255",),
    "no priorities": ("--no-dep",),
    "a weight": ("--weight=256",),
    "small tables": ("--header-table-size=0", "--encoder-header-table-size=0"),
    "huge tables": ("--header-table-size=1m", "--encoder-header-table-size=1m"),
    "no length": ("--no-content-length",),
    "an expectation": ("--expect-continue",),
    "many at once": ("--multiply=200",),
}


@pytest.mark.parametrize("options", NGHTTP.values(), ids=NGHTTP)
@pytest.mark.parametrize("size", [1, 70_000])
async def test_nghttp(wire: ServerProcess, options: tuple[str, ...], size: int, body: Path) -> None:
    command = [program("nghttp", "nghttp2-client"), *options, "--data", str(body)]
    for header in HEADERS:
        command += ["--header", header]
    url = f"http://{wire.target}{ECHO}"
    answers = 200 if "--multiply=200" in options else 1
    async with harmless(wire):
        done = await asyncio.to_thread(
            subprocess.run, [*command, url], capture_output=True, timeout=50, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(echoed(size)[:1024]) >= answers
    assert len(done.stdout) == answers * len(echoed(size))


@pytest.mark.parametrize(("size", "bits"), [(1, 1), (100, 1), (1, 16), (70_000, 16), (70_000, 30)])
async def test_h2load(wire: ServerProcess, size: int, bits: int, body: Path) -> None:
    command = [program("h2load", "nghttp2-client"), "--requests=1000", "--clients=5"]
    command += ["--max-concurrent-streams=200", f"--window-bits={bits}"]
    command += [f"--connection-window-bits={max(bits, 16)}", f"--data={body}"]
    for header in HEADERS:
        command.append(f"--header={header}")
    # Requests and answers of five connections wait for each other.
    async with harmless(wire, growth=256 << 20):
        said = await asyncio.to_thread(output, [*command, f"http://{wire.target}{ECHO}"])
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert "status codes: 1000 2xx" in said, said
    (size_of_data,) = re.findall(r"\((\d+)\) data$", said, re.MULTILINE)
    assert int(size_of_data) == 1000 * len(echoed(size)), said


@pytest.mark.parametrize("size", SIZES)
async def test_buf_curl(wire: ServerProcess, size: int) -> None:
    command = [str(Path(sys.executable).parent / "buf"), "curl", "--protocol", "grpc"]
    command += ["--http2-prior-knowledge", "--data", "@-", f"http://{wire.target}{ECHO}"]
    data = json.dumps({"data": b64encode(b"a" * size).decode()})
    async with harmless(wire):
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            input=data,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert b64decode(json.loads(done.stdout).get("result", "")) == b"a" * size


def test_buf_curl_reads_a_stream(wire: ServerProcess) -> None:
    command = [str(Path(sys.executable).parent / "buf"), "curl", "--protocol", "grpc"]
    command += ["--http2-prior-knowledge", "--data", '{"data": "YQ==", "count": 100}']
    said = output([*command, f"http://{wire.target}{ECHO.replace('Echo', 'Repeat')}"])
    assert said.count('"YQ=="') == 100
