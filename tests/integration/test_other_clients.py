"""Clients that know nothing of BlazeRPC: grpcio, grpcio's reflection, buf curl."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.rpc.error_details_pb2 import BadRequest
from grpc_tools import protoc

from blazerpc.codegen import build_schema
from blazerpc.codegen.servicer import InferenceServicer
from blazerpc_client.channel import Channel
from blazerpc_client.reflection import fetch_schema
from blazerpc_client.schema import Schema
from tests.apps.models import app
from tests.conftest import ROOT, ServerProcess
from tests.integration.conftest import blaze


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .proto files of tests.apps.models, as the command line writes them."""
    directory = tmp_path_factory.mktemp("proto")
    done = blaze("proto", "tests.apps.models:app", "--output-dir", str(directory))
    assert done.returncode == 0, done.stderr
    return directory


def compile_proto(directory: Path, *options: str) -> None:
    """Run the real protoc over the exported files."""
    files = ["blaze_service.proto", "blazerpc/options.proto"]
    include = str(Path(protoc.__file__).parent / "_proto")
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{directory}", f"-I{include}"]
    subprocess.run([*command, *options, *files], check=True, cwd=directory, timeout=50)


def run(script: str, *arguments: str) -> Any:
    """Run a peer in a process of its own, and return the JSON that it prints."""
    command = [sys.executable, "-m", f"tests.peers.{script}", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_grpcio_client_of_the_exported_proto(models: ServerProcess, exported: Path) -> None:
    compile_proto(exported, f"--python_out={exported}", f"--grpc_python_out={exported}")
    assert run("grpcio_client", models.target, str(exported)) == {
        "greeting": "abab",
        "rows": [6.0, 44.0],
        "shape": [2],
        "numbers": [0, 1, 2],
        "failure": "INTERNAL",
        "unknown": "UNIMPLEMENTED",
    }


def test_grpcios_reflection_client_resolves_everything(models: ServerProcess) -> None:
    answer = run("grpcio_reflection", models.target)
    assert answer["services"] == [
        "blazerpc.InferenceService",
        "grpc.health.v1.Health",
        "inference.GRPCInferenceService",
    ]
    assert answer["messages"]["blazerpc.SumRowsRequest"] == ["x", "weights"]
    assert answer["messages"]["grpc.health.v1.HealthCheckRequest"] == ["service"]
    assert answer["options"] == ["blazerpc/options.proto"] * 3
    assert answer["descriptor"] == "google.protobuf"
    assert answer["by_number"] == ["blazerpc.param", "blazerpc.tensor"]


def buf_curl(models: ServerProcess, path: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge", *options]
    url = f"http://{models.target}{path}"
    return subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:], url],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("protocol", ["grpc-v1", "grpc-v1alpha"])
def test_buf_curl_lists_the_methods(models: ServerProcess, protocol: str) -> None:
    done = buf_curl(models, "", "--list-methods", "--reflect-protocol", protocol)
    assert done.returncode == 0, done.stderr
    assert "blazerpc.InferenceService/PredictSumRows" in done.stdout.split()
    assert "grpc.health.v1.Health/Check" in done.stdout.split()


def test_buf_curl_calls_a_model(models: ServerProcess) -> None:
    data = '{"name": "ab", "times": 2}'
    done = buf_curl(models, "/blazerpc.InferenceService/PredictGreet", "-d", data)
    assert json.loads(done.stdout) == {"result": "abab"}, done.stderr


def test_buf_curl_reads_a_stream(models: ServerProcess) -> None:
    data = '{"to": 3, "failAt": -1}'
    done = buf_curl(models, "/blazerpc.InferenceService/PredictCount", "-d", data)
    # proto3 leaves a zero out.
    messages = done.stdout.split("}")[:-1]
    assert [json.loads(message + "}") for message in messages] == [
        {},
        {"result": "1"},
        {"result": "2"},
    ], done.stderr


def test_buf_curl_shows_which_field_is_wrong(models: ServerProcess) -> None:
    done = buf_curl(models, "/blazerpc.InferenceService/PredictSumRows", "-d", "{}")
    assert done.returncode != 0
    error = json.loads(done.stderr)
    assert error["code"] == "invalid_argument"
    assert error["message"] == "x: missing"
    (detail,) = error["details"]
    assert detail["type"] == "google.rpc.BadRequest"
    violations = BadRequest.FromString(b64decode(detail["value"] + "==")).field_violations
    assert [violation.field for violation in violations] == ["x"]


async def test_proto_reflection_and_running_classes_are_one_schema(
    models: ServerProcess, exported: Path
) -> None:
    compile_proto(exported, "--descriptor_set_out=exported.binpb", "--include_imports")
    from_proto = Schema.from_bytes((exported / "exported.binpb").read_bytes())
    channel = Channel(models.target)
    reflected = await fetch_schema(channel)
    channel.close()
    own = build_schema(app.registry)
    for name in ("blaze_service.proto", "blazerpc/options.proto"):
        assert text(reflected, name) == text(own, name) == text(from_proto, name)
    for path, handler in InferenceServicer(app.registry).__mapping__().items():
        method = reflected.method(path.lstrip("/").replace("/", "."))
        assert fields(handler.request_type.DESCRIPTOR) == fields(method.input_type)
        assert fields(handler.reply_type.DESCRIPTOR) == fields(method.output_type)


def fields(message: Descriptor) -> list[tuple[str, int, int, bool]]:
    return [(field.name, field.number, field.type, field.is_repeated) for field in message.fields]


def text(schema: Schema, name: str) -> str:
    """Return a file of a schema as text, without the JSON names that only some writers fill in."""
    (file,) = [file for file in schema.files if file.name == name]
    copy = FileDescriptorProto.FromString(file.SerializeToString(deterministic=True))
    for message in copy.message_type:
        for field in message.field:
            field.ClearField("json_name")
    for extension in copy.extension:
        extension.ClearField("json_name")
    return str(copy)
