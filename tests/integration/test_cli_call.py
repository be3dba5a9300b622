"""``blaze call`` against real servers: results, streams, exit codes, errors, and no secrets."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grpclib.const import Status
from PIL import Image
from typer.testing import CliRunner

from blazerpc.cli.main import cli
from tests.apps.rows import ROWS
from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.conftest import blaze, foreign_server

SECRET = "s3cret-of-mine"


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server("tests.apps.cli:app")


@pytest.fixture(scope="module")
def rows(start_module_server: StartServer) -> ServerProcess:
    return start_module_server("tests.apps.rows:app")


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    with foreign_server() as target:
        yield target


class Done:
    """What a command wrote, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def assert_failed(self, code: int, message: str) -> None:
        """Check for one line on stderr, and nothing else."""
        assert (self.code, self.out) == (code, "")
        (line,) = self.err.splitlines()
        assert line.startswith(f"error: {message}"), line


def call(server: ServerProcess | str, *arguments: str, stdin: bytes = b"") -> Done:
    """Run the command in this process; it is the whole command line but for its start."""
    target = server if isinstance(server, str) else server.target
    result = CliRunner().invoke(cli, ["call", target, *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Done(result.exit_code, result.stdout, result.stderr)


VALUES: dict[str, tuple[str, str, object]] = {
    # the argument, what a person is shown (the same if empty), what a program is told
    "span": ('{"start": 3}', '{\n  "start": 3,\n  "end": -1\n}', {"start": 3, "end": -1}),
    "extra": (
        '{"source": "a", "weight": "NaN"}',
        '{\n  "source": "a",\n  "weight": "NaN"\n}',
        {"source": "a", "weight": "NaN"},
    ),
    "settings": (
        '{"temperature": 0.1, "level": "BELOW"}',
        '{\n  "temperature": 0.1,\n  "stop": [],\n  "level": "BELOW"\n}',
        {"temperature": 0.1, "stop": [], "level": "BELOW"},
    ),
    "kind": ("NOTE", "", "NOTE"),
    "level": ("10", "HIGH", "HIGH"),
    "mode": ("exact", "", "exact"),
    "when": ("2026-01-31T12:00:00+02:00", "2026-01-31T10:00:00+00:00", "2026-01-31T10:00:00+00:00"),
    "took": ("1.5", "", 1.5),
    "kinds": ('["NOTE"]', "", ["NOTE"]),
    "modes": ('["fast"]', "", ["fast"]),
    "times": (
        '["2026-01-31T12:00:00Z"]',
        '["2026-01-31T12:00:00+00:00"]',
        ["2026-01-31T12:00:00+00:00"],
    ),
    "widths": ("[1, -2]", "", [1, -2]),
    "counts": ('{"a": 1}', '{\n  "a": 1\n}', {"a": 1}),
    "spans": (
        '{"-1": {"start": 1, "end": 2}}',
        '{\n  "-1": {\n    "start": 1,\n    "end": 2\n  }\n}',
        {"-1": {"start": 1, "end": 2}},
    ),
    "levels": ('{"a": "LOW"}', '{\n  "a": "LOW"\n}', {"a": "LOW"}),
    "scores": ('{"a": 0.1}', '{\n  "a": 0.1\n}', {"a": 0.1}),
    "arrays": ("[[1, 0.1]]", '["float32 (2,) [1.0, 0.1]"]', [[1.0, 0.1]]),
    "named_arrays": (
        '{"a": "1.0-2.0j"}',
        '{\n  "a": "complex64 () [\\"1.0-2.0j\\"]"\n}',
        {"a": "1.0-2.0j"},
    ),
    "texts": ('["a", "é"]', 'str (2,) ["a", "é"]', ["a", "é"]),
    "blobs": ('["AP8=", "Yg=="]', 'bytes (2,) ["AP8=", "Yg=="]', ["AP8=", "Yg=="]),
    "brains": ("[1, 2.5]", "bfloat16 (2,) [1.0, 2.5]", [1.0, 2.5]),
    "jax": (
        "[[1,2],[3,4],[5,6],[7,8],[9,10]]",
        "float32 (5, 2) [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, ...]",
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]],
    ),
}
DOCUMENT: dict[str, Any] = {
    "title": "a",
    "raw": "AP8=",
    "score": 0.1,
    "embedding": [1.0],
    "kind": "NOTE",
    "mode": "fast",
    "when": "2026-01-31T12:00:00+00:00",
    "took": -0.5,
    "span": {"start": 1, "end": -1},
    "extra": {"source": "", "weight": None},
    "parts": [],
    "by_name": {},
    "by_number": {"7": {"start": 1, "end": -1}},
    "images": [[[1, 2]]],
    "flags": [True],
    "note": None,
    "level": "LOW",
    "top_k": 5,
    "settings": None,
    "halves": [1.0, 0.5],
}


def test_every_row_is_called() -> None:
    assert VALUES.keys() | {"document", "documents"} == ROWS.keys()


@pytest.mark.parametrize("name", VALUES)
def test_any_type_is_sent_and_shown(rows: ServerProcess, name: str) -> None:
    argument, shown, told = VALUES[name]
    done = call(rows, name, f"value={argument}")
    assert (done.code, done.out, done.err) == (0, f"{shown or argument}\n", "")
    done = call(rows, name, f"value={argument}", "--json")
    assert json.loads(done.out) == told
    # A result is an argument.
    assert call(rows, name, f"value:={done.out}", "--json").out == done.out
    streamed = call(rows, f"stream-{name}", f"value={argument}", "--json")
    assert (streamed.code, streamed.out) == (0, done.out * 2)


def test_classes_in_classes(rows: ServerProcess) -> None:
    document = {**DOCUMENT, "parts": [DOCUMENT], "by_name": {"x": DOCUMENT}}
    done = call(rows, "document", f"value={json.dumps(document)}", "--json")
    assert json.loads(done.out) == document
    done = call(rows, "documents", "value=-", "--json", stdin=json.dumps([document]).encode())
    assert json.loads(done.out) == [document]


def test_what_is_absent(rows: ServerProcess) -> None:
    assert call(rows, "optional-kind", "value=null").out == "null\n"
    assert call(rows, "optional-kind").out == "null\n"
    assert call(rows, "defaults", "took=2").out == "NOTE exact 0:00:02 {} None\n"


def test_a_version_is_named(server: ServerProcess) -> None:
    assert call(server, "greet", "name=ann").out == "hello ann\n"
    assert call(server, "greet:1", "name=ann").out == "hello ann\n"
    assert call(server, "greet:2", 'names=["ann", "bob"]').out == "hello ann, bob\n"


def test_an_image_is_sent(server: ServerProcess, tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(tmp_path / "x.png")
    done = call(server, "brightness", f"images=@{tmp_path}/x.png")
    assert (done.code, done.out) == (0, "float32 (1,) [7.0]\n")


def test_a_tensor_is_saved_and_sent_again(rows: ServerProcess, tmp_path: Path) -> None:
    for name, value in (("jax", "[[1,2]]"), ("brains", "[1,2.5]"), ("texts", '["a","bc"]')):
        file = tmp_path / f"{name}.npy"
        done = call(rows, name, f"value={value}", "--out", str(file))
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"saved {file}: ")
        again = call(rows, name, f"value=@{file}", "--json")
        assert again.out == call(rows, name, f"value={value}", "--json").out
    assert np.load(tmp_path / "jax.npy").tolist() == [[1.0, 2.0]]


def test_a_stream_is_saved_one_by_one(server: ServerProcess, tmp_path: Path) -> None:
    done = call(server, "ramp", "count=3", "--out", str(tmp_path / "r.npy"), "--json")
    assert done.code == 0
    for number, line in enumerate(done.out.splitlines()):
        file = tmp_path / f"r-{number}.npy"
        assert json.loads(line) == {"file": str(file), "dtype": "float32", "shape": [3]}
        assert np.load(file).tolist() == [number] * 3
    assert len(os.listdir(tmp_path)) == 3


def test_a_stream_is_shown_as_it_comes(server: ServerProcess, tmp_path: Path) -> None:
    go = tmp_path / "go"
    command = [sys.executable, "-m", "blazerpc.cli", "call", server.target, "hold", f"until={go}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"  # the second does not exist yet
        go.touch()
        assert process.stdout.read() == "second\n"
        assert process.wait(20) == 0


def test_who_reads_no_more_ends_it_quietly(server: ServerProcess) -> None:
    command = [sys.executable, "-W", "error", "-m", "blazerpc.cli", "call", server.target, "ramp"]
    with subprocess.Popen(
        [*command, "count=10000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 1


#: The command line with SIGINT as a terminal has it: of a job in the background it is ignored.
INTERRUPTIBLE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from blazerpc.cli.__main__ import main; main()"
)


def test_it_can_be_interrupted(server: ServerProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTIBLE, "call", server.target, "hold"]
    with subprocess.Popen(
        [*command, f"until={tmp_path}/never"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        process.send_signal(signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert "Traceback" not in errors
    assert process.returncode == 130


def test_the_console_script_calls(server: ServerProcess) -> None:
    done = blaze("call", server.target, "fail", "status=OK")
    assert (done.returncode, done.stdout, done.stderr) == (0, "OK\n", "")


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_every_status_has_its_exit_code(server: ServerProcess, status: Status) -> None:
    done = call(server, "fail", f"status={status.name}")
    done.assert_failed(64 + status.value, f"it is {status.name}")


def test_a_failure_of_this_side_has_its_status_too(server: ServerProcess) -> None:
    done = call(server, "hold", "until=/no/file", "--timeout", "0.3")
    assert (done.code, done.out) == (68, "first\n")  # what came before it was shown
    call("127.0.0.1:1", "fail").assert_failed(78, "cannot reach 127.0.0.1:1: Connect call failed")
    assert "is the server running there?" in call("127.0.0.1:1", "fail").err
    done = call(server, "ramp", "count=1", "--out", "/no/directory/x.npy")
    done.assert_failed(1, "[Errno 2] No such file or directory: '/no/directory/x-0.npy'")


def test_what_is_not_there_is_told_with_what_is(server: ServerProcess, foreign: str) -> None:
    has = "it has: fail, tell, hold, brightness, ramp, wide, greet, greet:2"
    call(server, "fial", "status=OK").assert_failed(
        69, f"{server.target} has no model 'fial'; {has}"
    )
    call(server, "fail:2", "status=OK").assert_failed(69, f"{server.target} has no model 'fail:2'")
    call(server, "a.B/C").assert_failed(69, f"{server.target} has no service a.B; it has: blazerpc")
    method = "blazerpc.InferenceService/Predict"
    call(server, method).assert_failed(69, "blazerpc.InferenceService has no method 'Predict'; it")
    call(foreign, "fail").assert_failed(69, f"{foreign} has no model 'fail'; it has no models")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fail"], "status: missing; fail takes status: str"),
        (["fail", "OK"], "'OK' is no argument; write key=value; fail takes status: str"),
        (["fail", "stat=OK"], "no argument 'stat'; fail takes status: str"),
        (["wide", "top_k=a"], "top_k: not JSON at column 1: Expecting value; it takes int"),
        (["wide", "top_k=1.5"], "top_k: expected int, got float"),
        (["wide", "top_k=9223372036854775808"], "top_k: value is out of range for int64"),
        (["brightness", "images=[[[[1,2]]]]"], "images: expected shape (batch, height, width, 3)"),
        (["brightness", "images=[[1],[2,3]]"], "images: lists of one depth differ in length"),
        (["brightness", "images=@/no/x.png"], "images: cannot read '/no/x.png': No such file"),
        (["fail", "status=OK", "--out", "x.npy"], "--out: only a tensor can be saved"),
        (["fail", "status=OK", "--timeout", "-1"], "timeout: -1.0 is out of range"),
    ],
)
def test_a_call_that_cannot_be_made_is_not_sent(
    server: ServerProcess, arguments: list[str], message: str
) -> None:
    call(server, *arguments).assert_failed(2, message)


def test_no_address_and_no_command(server: ServerProcess) -> None:
    call("localhost", "fail").assert_failed(2, "'localhost' is no address; it has the form HOST")
    assert call(server).code == 2


def test_what_the_client_refuses_names_the_field(rows: ServerProcess) -> None:
    for name, argument, message in [
        ("kind", "NOTES", "value: expected one of UNSPECIFIED, ARTICLE, NOTE"),
        ("mode", "slow", "value: expected one of 'fast', 'exact', got 'slow'"),
        ("span", '{"begin": 1}', "value.begin: no such field; there are: start, end"),
        ("spans", '{"a": {"start": 1}}', "value['a']: expected int, got str"),
        ("arrays", "[[1],[1,2]]", "value[1]: dimension 'n' is 2 here, 1 earlier in the call"),
        ("document", '{"parts":' * 50 + "[]" + "}" * 50, "value."),
    ]:
        call(rows, name, f"value={argument}").assert_failed(2, message)


def test_metadata_is_sent_and_what_comes_back_is_shown(server: ServerProcess) -> None:
    done = call(server, "tell", "text=a", "--metadata", "authorization=abc", "-v")
    assert (done.code, done.out) == (0, "a\n")
    lines = dict(line.split(": ", 1) for line in done.err.splitlines())
    assert lines["x-token"] == "abc"
    assert lines["x-raw-bin"] == base64.b64encode(b"\x00\xff").decode()
    assert float(lines["blaze-compute-ms"]) >= 0
    done = call(server, "ramp", "count=1", "-v")
    assert "blaze-compute-ms: " in done.err


@pytest.mark.parametrize("text", ["ok", "fail"])
@pytest.mark.parametrize("value", [SECRET, f"Bearer {SECRET}"])
def test_no_secret_is_shown(server: ServerProcess, text: str, value: str) -> None:
    given = ("--metadata", f"authorization={value}")
    done = call(server, "tell", f"text={text}", *given, "-v", "--json")
    assert done.code == (80 if text == "fail" else 0)
    assert "(hidden)" in done.err
    assert SECRET not in done.out + done.err


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([SECRET], "--metadata, number 1: it has the form key=value"),
        ([f"Bearer {SECRET}=="], "--metadata, number 1: a key is made of a-z"),
        (["a=b", f"c={SECRET}\n"], "--metadata, number 2: a key is made of a-z"),
        ([f"a={SECRET}", f"a={SECRET}"], "--metadata, number 2: the key is that of an earlier one"),
        ([f"a-bin={SECRET}"], "--metadata, number 1: not base64"),
        ([f"grpc-x={SECRET}"], "--metadata, number 1: a key is made of a-z"),
    ],
)
def test_metadata_that_cannot_be_sent(
    server: ServerProcess, texts: list[str], message: str
) -> None:
    options = [option for text in texts for option in ("--metadata", text)]
    done = call(server, "fail", "status=OK", *options)
    done.assert_failed(2, message)
    assert SECRET not in done.err


def test_binary_metadata_is_base64(server: ServerProcess) -> None:
    done = call(server, "fail", "status=OK", "--metadata", "x-raw-bin=AP8=")
    assert done.code == 0


def test_a_method_of_any_server_is_called(foreign: str) -> None:
    zoo = "zoo.v1.ZooService"
    done = call(foreign, f"{zoo}/Import", "from=here", "size=TINY", 'cage={"number": 1}', "--json")
    animal = json.loads(done.out)
    assert (animal["from"], animal["size"]) == ("here", "SMALL")  # an alias has the first name
    assert animal["cage"] == {"number": 1, "lock": "OPEN"}
    assert animal["street"] is None
    # A result is a request again, without what is absent.
    given = [f"{name}:={json.dumps(value)}" for name, value in animal.items() if value is not None]
    assert call(foreign, f"/{zoo}/Import", *given, "--json").out == done.out
    done = call(
        foreign, f"{zoo}/Know", "at=2026-01-31T12:00:00Z", "lasting=-1.5", "text=3", "--json"
    )
    known = json.loads(done.out)
    assert (known["at"], known["lasting"]) == ("2026-01-31T12:00:00+00:00", -1.5)
    assert (known["text"], known["count"]) == ("3", None)
    assert call(foreign, f"{zoo}/Close").out == "{}\n"
    done = call(foreign, "grpc.health.v1.Health/Check", "service=zoo")
    assert done.out == '{\n  "status": "NOT_SERVING"\n}\n'


def test_a_stream_of_any_server_is_shown_until_it_fails(foreign: str) -> None:
    animals = json.dumps([{"from": "a"}, {"from": "b"}, {"from": "nowhere"}])
    done = call(foreign, "zoo.v1.ZooService/Export", f"str={animals}", "--json")
    assert [json.loads(line)["from"] for line in done.out.splitlines()] == ["a", "b"]
    assert (done.code, done.err) == (73, "error: no such place\n")


def test_what_any_server_does_not_take(foreign: str) -> None:
    zoo = "zoo.v1.ZooService"
    for rpc in ("ImportAll", "Chat"):
        done = call(foreign, f"{zoo}/{rpc}", "from=a")
        done.assert_failed(2, f"{zoo}/{rpc} takes a stream of requests, and this sends one")
    done = call(foreign, f"{zoo}/Import", "cage={}", "street=Main")
    done.assert_failed(2, "street: cage is given too, and only one can be")
    call(foreign, f"{zoo}/Recall").assert_failed(2, "name: missing; Recall takes name: str")
    call(foreign, f"{zoo}/Import", "tags=[-1]").assert_failed(2, "tags[0]: value is out of range")
    done = call(foreign, f"{zoo}/Import", "--out", "x.npy")
    done.assert_failed(2, "--out: only a tensor can be saved")


def test_control_characters_do_not_reach_a_terminal(server: ServerProcess) -> None:
    done = call(server, "wide", "--json")
    assert done.out == '"\\u001b[31m"\n'
    assert call(server, "wide").out == "\x1b[31m\n"  # into a file or a pipe it is what it is
    assert "\x1b" not in call(server, "wide\x1b").err


def test_help_is_enough() -> None:
    done = blaze("call", "--help")
    assert done.returncode == 0
    for word in ("KEY=VALUE", "MODEL", "--timeout", "--metadata", "--out", "--json", "--verbose"):
        assert word in done.stdout
