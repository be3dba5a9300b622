from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import (
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from grpc_tools import protoc
from hypothesis import given
from hypothesis import strategies as st

import blazerpc_client.wire.options
from blazerpc_client.schema import Schema
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.options import (
    OPTIONS_DESCRIPTOR,
    OPTIONS_FILE,
    ModelOptions,
    read_default,
    read_model,
    read_tensor,
    write_default,
    write_model,
    write_tensor,
)
from blazerpc_client.wire.tensors import TensorSpec
from tests.unit.blazerpc_client.schemas import (
    SERVICE,
    TENSOR,
    Model,
    schema_of,
    schema_of_files,
    service_file,
    tensor,
)
from tests.unit.blazerpc_client.strategies import DTYPES, many, unicode_text

WELL_KNOWN = Path(protoc.__file__).parent / "_proto"


def compiled(directory: Path, *files: str) -> FileDescriptorSet:
    """Return what the real protoc makes of ``files`` and all that they import."""
    options = directory / OPTIONS_FILE
    options.parent.mkdir()
    shutil.copy(Path(blazerpc_client.wire.options.__file__).with_name("options.proto"), options)
    out = directory / "out.binpb"
    code = protoc.main(
        [
            "protoc",
            f"-I{directory}",
            f"-I{WELL_KNOWN}",
            "--include_imports",
            f"--descriptor_set_out={out}",
            *files,
        ]
    )
    assert code == 0
    return FileDescriptorSet.FromString(out.read_bytes())


def test_protoc_makes_the_same_of_the_file_for_people(tmp_path: Path) -> None:
    files = {file.name: file for file in compiled(tmp_path, OPTIONS_FILE).file}
    assert files[OPTIONS_FILE] == OPTIONS_DESCRIPTOR


def test_options_that_protoc_wrote_are_read(tmp_path: Path) -> None:
    (tmp_path / "service.proto").write_text(
        """
        syntax = "proto3";
        package blazerpc;
        import "blazerpc/options.proto";
        message TensorProto { repeated int64 shape = 1; string dtype = 2; bytes data = 3; }
        message Request {
          TensorProto x = 1 [(blazerpc.tensor) = { dtype: "float" shape: ["batch", "4"] }];
          TensorProto y = 2;
          optional int32 k = 3 [(blazerpc.param) = { default: "3" }];
        }
        service InferenceService {
          rpc Predict(Request) returns (Request) {
            option (blazerpc.model) = { name: "digits" version: "2" doc: "Say \\"which\\"." };
          }
        }
        """
    )
    schema = Schema(compiled(tmp_path, "service.proto").file)
    x, y, k = schema.message("blazerpc.Request").fields
    assert read_tensor(x) == tensor("f4", "batch", 4)
    assert read_tensor(y) is None
    assert read_default(y) is None
    assert read_default(k) == "3"
    assert read_model(schema.method(f"{SERVICE}.Predict")) == ModelOptions(
        name="digits", version="2", doc='Say "which".'
    )


dimensions = st.integers(0, 1 << 62) | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)


@many
@given(dtype=st.sampled_from(list(DTYPES.values())), shape=st.lists(dimensions, max_size=5))
def test_any_tensor_type_that_is_written_is_read(
    dtype: type[np.generic], shape: list[int | str]
) -> None:
    spec = TensorSpec(np.dtype(dtype), tuple(shape))
    schema = schema_of(Model(parameters={"x": spec}))
    assert read_tensor(schema.message("blazerpc.EchoRequest").fields[0]) == spec


@many
@given(name=unicode_text, version=unicode_text, doc=unicode_text)
def test_any_model_that_is_written_is_read(name: str, version: str, doc: str) -> None:
    schema = schema_of(Model(name=name, version=version, doc=doc))
    options = read_model(schema.method(f"{SERVICE}.PredictEcho"))
    assert options == ModelOptions(name=name, version=version, doc=doc)


@many
@given(default=unicode_text)
def test_any_default_that_is_written_is_read(default: str) -> None:
    schema = schema_of(Model(parameters={"k": "int32"}, defaults={"k": default}))
    assert read_default(schema.message("blazerpc.EchoRequest").fields[0]) == default


def test_without_the_options_there_is_nothing_to_read() -> None:
    file = service_file(Model(parameters={"text": "string", "x": TENSOR}))
    file.service[0].method[0].ClearField("options")
    schema = schema_of_files(file)
    for field in schema.message("blazerpc.EchoRequest").fields:
        assert read_tensor(field) is None
        assert read_default(field) is None
    assert read_model(schema.method(f"{SERVICE}.PredictEcho")) is None


def test_other_options_beside_ours_stay() -> None:
    field, method = FieldDescriptorProto(), MethodDescriptorProto()
    field.options.deprecated = method.options.deprecated = True
    write_tensor(field, tensor("f4", 2))
    write_default(field, "0")
    write_model(method, ModelOptions(name="a", version="1", doc=""))
    assert field.options.deprecated
    schema = schema_of(Model(parameters={"x": tensor("f4", 2)}, defaults={"x": "0"}))
    (x,) = schema.message("blazerpc.EchoRequest").fields
    assert (read_tensor(x), read_default(x)) == (tensor("f4", 2), "0")
    assert method.options.deprecated


def hostile(dtype: bytes, *sizes: bytes) -> FieldDescriptorProto:
    """Return a field whose option says what ``write_tensor`` never would."""
    body = b"".join(
        tag + bytes([len(value)]) + value
        for tag, value in [(b"\x0a", dtype), *((b"\x12", size) for size in sizes)]
    )
    field = FieldDescriptorProto()
    # (51001 << 3 | 2) as a varint, then the message.
    field.options.MergeFromString(b"\xca\xf3\x18" + bytes([len(body)]) + body)
    return field


def read_hostile(field: FieldDescriptorProto) -> TensorSpec | None:
    file = service_file(Model())
    file.message_type[0].field[0].options.CopyFrom(field.options)
    return read_tensor(schema_of_files(file).message("blazerpc.EchoRequest").fields[0])


def test_these_are_the_bytes_of_the_option() -> None:
    field = FieldDescriptorProto()
    write_tensor(field, tensor("f4", "batch", 4))
    assert hostile(b"float", b"batch", b"4") == field
    assert read_hostile(field) == tensor("f4", "batch", 4)


@pytest.mark.parametrize("dtype", [b"", b"quaternion", b"float128"])
def test_an_unknown_dtype_is_refused(dtype: bytes) -> None:
    with pytest.raises(WireError, match=f"unknown dtype '{dtype.decode()}'"):
        read_hostile(hostile(dtype, b"4"))


@pytest.mark.parametrize(
    ("size", "read"),
    [
        (b"4", 4),
        (b"0", 0),
        ("٤".encode(), 4),
        (b"-1", "-1"),
        (b"", ""),
        ("²".encode(), "²"),
        (b"1e3", "1e3"),
        (b"a b", "a b"),
    ],
)
def test_a_dimension_is_a_size_when_it_is_a_decimal(size: bytes, read: int | str) -> None:
    spec = read_hostile(hostile(b"float", size))
    assert spec is not None
    assert spec.shape == (read,)


def test_a_size_that_no_array_has_is_refused() -> None:
    field = FieldDescriptorProto()
    write_tensor(field, tensor("f4", "9" * 5000))
    with pytest.raises(WireError, match="dimension"):
        read_hostile(field)
