"""``blaze inspect`` against real servers: tables for people, JSON with documented keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.reflection.service import ServerReflection
from typer.testing import CliRunner

from blazerpc.cli.main import cli
from tests.conftest import ROOT, ServerProcess, StartServer
from tests.integration.conftest import blaze, foreign_server
from tests.unit.blazerpc_client.servers import serving_handlers

SERVICE = {"name", "health", "methods", "types"}
METHOD = {"name", "shape", "request", "response", "model"}
MODEL = {"name", "version", "health", "doc", "signature", "parameters", "result"}
FIELD = {"name", "type", "dtype", "shape", "required", "optional", "default", "allowed"}
TYPE = {"name", "kind", "members", "fields"}


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


def inspect(target: str, *options: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["inspect", target, *options])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def as_json(target: str) -> Any:
    return json.loads(inspect(target, "--json"))


def models_of(found: Any) -> dict[str, Any]:
    """Return the models of the only service, by name and version."""
    (service,) = found["services"]
    models = [method["model"] for method in service["methods"]]
    return {f"{model['name']}:{model['version']}": model for model in models}


def test_a_model_is_told_with_all_there_is_to_it(server: ServerProcess) -> None:
    found = as_json(server.target)
    assert (found["target"], found["health"]) == (server.target, "SERVING")
    (service,) = found["services"]
    assert (service["name"], service["health"]) == ("blazerpc.InferenceService", "SERVING")
    methods = {method["name"]: method for method in service["methods"]}
    ramp = methods["PredictRamp"]
    assert ramp["shape"] == "server_stream"
    assert (ramp["request"], ramp["response"]) == ("blazerpc.RampRequest", "blazerpc.RampResponse")
    assert ramp["model"] == {
        "name": "ramp",
        "version": "1",
        "health": "SERVING",
        "doc": "Stream arrays.",
        "signature": "ramp(count: int, size: int = 3) -> stream of float32 (size,)",
        "parameters": [
            {
                "name": "count",
                "type": "int",
                "dtype": None,
                "shape": None,
                "required": True,
                "optional": False,
                "default": None,
                "allowed": [],
            },
            {
                "name": "size",
                "type": "int",
                "dtype": None,
                "shape": None,
                "required": False,
                "optional": True,
                "default": 3,
                "allowed": [],
            },
        ],
        "result": {
            "name": "result",
            "type": "float32 (size,)",
            "dtype": "float32",
            "shape": ["size"],
            "required": True,
            "optional": False,
            "default": None,
            "allowed": [],
        },
    }
    images = methods["PredictBrightness"]["model"]["parameters"][0]
    assert images["shape"] == ["batch", "height", "width", 3]
    assert methods["PredictFail"]["shape"] == "unary"
    versions = [m["model"]["version"] for m in methods.values() if m["model"]["name"] == "greet"]
    assert versions == ["1", "2"]


def test_types_are_told_with_their_fields(rows: ServerProcess) -> None:
    found = as_json(rows.target)
    models = models_of(found)
    assert models["mode:1"]["parameters"][0]["allowed"] == ["fast", "exact"]
    assert models["optional-kind:1"]["result"]["optional"]
    types = {kind["name"]: kind for kind in found["services"][0]["types"]}
    assert set(types) == {
        f"blazerpc.{name}" for name in ("Document", "Span", "Extra", "Settings", "Kind", "Level")
    }
    assert types["blazerpc.Kind"]["members"] == {"UNSPECIFIED": 0, "ARTICLE": 1, "NOTE": 2}
    fields = {field["name"]: field for field in types["blazerpc.Document"]["fields"]}
    assert fields["embedding"]["type"] == "float32 (size,)"
    assert fields["by_number"]["type"] == "dict[int, Span]"
    assert (fields["level"]["required"], fields["level"]["default"]) == (False, "LOW")
    assert types["blazerpc.Document"]["kind"] == "message"


def test_keys_are_always_the_same(rows: ServerProcess, foreign: str) -> None:
    for target in (rows.target, foreign):
        found = as_json(target)
        assert found.keys() == {"target", "health", "services"}
        for service in found["services"]:
            assert service.keys() == SERVICE
            for method in service["methods"]:
                assert method.keys() == METHOD
                if (model := method["model"]) is not None:
                    assert model.keys() == MODEL
                    for field in [*model["parameters"], model["result"]]:
                        assert field.keys() == FIELD
            for kind in service["types"]:
                assert kind.keys() == TYPE
                for field in kind["fields"] or ():
                    assert field.keys() == FIELD


def test_every_key_is_documented() -> None:
    documentation = (ROOT / "docs/cli.md").read_text()
    for key in {"target", "services"} | SERVICE | METHOD | MODEL | FIELD | TYPE:
        assert f"`{key}`" in documentation


def test_a_table_shows_it(server: ServerProcess, rows: ServerProcess) -> None:
    shown = inspect(server.target)
    assert shown.startswith(f"{server.target} SERVING\n")
    for word in (
        "blazerpc.InferenceService SERVING",
        "images: float32 (batch, height, width, 3)",
        "float32 (batch,)",
        "stream of float32 (size,)",
        "size: int = 3",
        "Average the pixels of each image.",
    ):
        assert word in shown
    assert "\x1b" not in shown  # the docstring of a stranger cannot colour a terminal
    assert "\\u001b[31mred." in shown
    shown = inspect(rows.target)
    assert "list[Document]" in shown  # what rich would take for markup
    assert "ARTICLE = 1" in shown
    assert "by_number: dict[int, Span]" in shown


def test_a_server_of_others_is_told_by_its_methods(foreign: str) -> None:
    found = as_json(foreign)
    services = {service["name"]: service for service in found["services"]}
    assert set(services) == {
        "grpc.channelz.v1.Channelz",
        "inference.GRPCInferenceService",
        "zoo.v1.Zoo",
        "zoo.v1.ZooService",
    }
    zoo = services["zoo.v1.ZooService"]
    assert {method["name"]: method["shape"] for method in zoo["methods"]} == {
        "Import": "unary",
        "ImportAll": "client_stream",
        "Export": "server_stream",
        "Chat": "bidirectional",
        "Close": "unary",
        "Know": "unary",
        "Recall": "unary",
    }
    assert zoo["methods"][0]["request"] == "zoo.v1.Animal"
    assert zoo["methods"][0]["model"] is None
    assert (zoo["types"], zoo["health"], found["health"]) == ([], None, "SERVING")
    shown = inspect(foreign)
    assert "client stream" in shown
    assert "google.protobuf.Empty" in shown
    # Nothing is cut, however narrow the table is.
    narrow = CliRunner(env={"COLUMNS": "60"}).invoke(cli, ["inspect", foreign]).stdout
    assert "…" not in narrow


async def test_a_server_with_nothing_but_reflection() -> None:
    async with serving_handlers(*ServerReflection.extend([])) as target:
        done = await asyncio.to_thread(blaze, "inspect", target)
        assert done.stdout == (
            f"{target} (no health service)\nIt has no services besides health and reflection.\n"
        )
        done = await asyncio.to_thread(blaze, "inspect", target, "--json")
        assert json.loads(done.stdout) == {"target": target, "health": None, "services": []}


async def test_a_server_without_reflection() -> None:
    async with serving_handlers() as target:
        done = await asyncio.to_thread(blaze, "inspect", target)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {target} has no reflection service; enable it there\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["127.0.0.1:1"], 1, "cannot reach 127.0.0.1:1: "),
        (["localhost"], 2, "'localhost' is no address; it has the form HOST:PORT"),
        (["127.0.0.1:1", "--timeout", "-1"], 2, "timeout: -1.0 is out of range"),
        (["127.0.0.1:1", "--metadata", "s3cret"], 2, "--metadata, number 1: it has the form"),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments: list[str], code: int, message: str) -> None:
    result = CliRunner().invoke(cli, ["inspect", *arguments])
    assert (result.exit_code, result.stdout) == (code, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert "s3cret" not in line


def test_metadata_goes_with_every_question(tmp_path: Path, start_server: StartServer) -> None:
    (tmp_path / "guarded.py").write_text(GUARDED)
    server = start_server("guarded:app", directory=tmp_path)
    result = CliRunner().invoke(cli, ["inspect", server.target])
    assert (result.exit_code, result.stderr) == (1, "error: who are you?\n")
    given = ["--metadata", "authorization=Bearer s3cret"]
    shown = inspect(server.target, *given)
    assert "double" in shown
    done = CliRunner().invoke(cli, ["call", server.target, "double", "x=2", *given])
    assert (done.exit_code, done.stdout) == (0, "4\n")
    done = CliRunner().invoke(cli, ["call", server.target, "double", "x=2"])
    assert (done.exit_code, done.stderr) == (80, "error: who are you?\n")


GUARDED = """
from grpclib.const import Status
from grpclib.events import RecvRequest
from grpclib.exceptions import GRPCError

from blazerpc import BlazeApp
from blazerpc.server import Middleware


class Guard(Middleware):
    async def on_request(self, event: RecvRequest) -> None:
        if event.metadata.get("authorization") != "Bearer s3cret":
            raise GRPCError(Status.UNAUTHENTICATED, "who are you?")


app = BlazeApp(middleware=[Guard()])


@app.model("double")
def double(x: int) -> int:
    return 2 * x
"""
