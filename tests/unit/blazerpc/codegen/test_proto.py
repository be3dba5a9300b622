from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message
from grpc_tools import protoc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blazerpc import BlazeApp, ValidationError
from blazerpc.cli import export_proto
from blazerpc.codegen import ProtoGenerator, build_schema
from blazerpc.codegen.lock import SchemaLock
from blazerpc.runtime import ModelRegistry, serialize_tensor
from blazerpc_client.schema import Schema
from blazerpc_client.wire.options import OPTIONS_FILE
from tests.apps import rows
from tests.unit.blazerpc.support import define

INCLUDES = Path(protoc.__file__).parent / "_proto"

# Each example compiles files of its own in the one directory.
compiling = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def app_of(*models: tuple[str, Callable[..., object]]) -> BlazeApp:
    app = BlazeApp()
    for name, func in models:
        app.model(name)(func)
    return app


def model_of(*parameters: str, result: str = "int") -> Callable[..., object]:
    """Return a model with these parameters, each with its annotation."""
    return define(f"def model({', '.join(parameters)}) -> {result}: ...")


def compiled(app: BlazeApp, directory: Path) -> Schema:
    """Return what the real protoc makes of the exported files."""
    export_proto(app, directory)
    return protoc_of(directory)


def protoc_of(directory: Path) -> Schema:
    output = directory / "compiled.binpb"
    arguments = [
        "protoc",
        f"-I{directory}",
        f"-I{INCLUDES}",
        "--include_imports",
        f"--descriptor_set_out={output}",
        "blaze_service.proto",
    ]
    assert protoc.main(arguments) == 0, (directory / "blaze_service.proto").read_text()
    return Schema.from_bytes(output.read_bytes())


def file_of(schema: Schema, name: str) -> FileDescriptorProto:
    """Return a file without the JSON names, which protoc writes out and a pool leaves to a rule."""
    (file,) = (file for file in schema.files if file.name == name)
    plain = FileDescriptorProto()
    plain.CopyFrom(file)
    for message in plain.message_type:
        for part in (message, *message.nested_type):
            for field in part.field:
                field.ClearField("json_name")
    for extension in plain.extension:
        extension.ClearField("json_name")
    return plain


def assert_same(app: BlazeApp, directory: Path) -> None:
    ours, theirs = build_schema(app.registry), compiled(app, directory)
    for name in ("blaze_service.proto", OPTIONS_FILE):
        assert file_of(theirs, name) == file_of(ours, name)


EVERY_TYPE = [
    "a_str: str",
    "a_int: int",
    "a_float: float",
    "a_bool: bool",
    "a_bytes: bytes",
    "a_float32: np.float32",
    "a_float64: np.float64",
    "a_int32: np.int32",
    "a_int64: np.int64",
    "a_uint32: np.uint32",
    "a_uint64: np.uint64",
    "a_np_bool: np.bool_",
    "strs: list[str]",
    "ints: list[int]",
    "doubles: list[np.float64]",
    "bools: list[bool]",
    "blobs: list[bytes]",
    "x: TensorInput[np.float32, 'batch', 4]",
    "y: Annotated[npt.NDArray[np.str_], Tensor('n')]",
    "z: TensorInput[np.complex64]",
]


def test_protoc_makes_our_own_descriptor_of_the_text(tmp_path: Path) -> None:
    app = app_of(
        ("every-type", model_of(*EVERY_TYPE, result="TensorOutput[np.int8, 'batch', 0]")),
        ("letters", define("def model(text: str) -> Iterator[str]: yield text")),
        ("lists", define("async def model(n: int) -> AsyncIterator[list[float]]: yield []")),
    )
    app.model("letters", version="2")(define("def model(text: str) -> bytes: ..."))
    assert_same(app, tmp_path)


def test_protoc_makes_our_own_descriptor_of_what_is_reserved(tmp_path: Path) -> None:
    lock_file = tmp_path / "schema.lock"
    export_proto(app_of(("m", model_of("a: int", "b: str"))), tmp_path, lock_file)
    app = app_of(("m", model_of("c: str", "a: int")))
    export_proto(app, tmp_path, lock_file)
    ours = build_schema(app.registry, SchemaLock.read(lock_file))
    theirs = protoc_of(tmp_path)
    assert file_of(theirs, "blaze_service.proto") == file_of(ours, "blaze_service.proto")


def test_protoc_makes_our_own_descriptor_of_classes(tmp_path: Path) -> None:
    assert_same(rows.app, tmp_path)


def test_the_text_is_written_for_people() -> None:
    registry = ModelRegistry()
    registry.register(
        "sum-rows",
        "1",
        define(
            "def model(x: TensorInput[np.float32, 'batch', 4], names: list[str])"
            " -> Iterator[float]:\n"
            "    'Add up.'\n"
            "    yield 0.0"
        ),
    )
    text = ProtoGenerator().generate(registry)
    assert text.startswith('syntax = "proto3";\n\npackage blazerpc;\n\nimport "blazerpc/options')
    assert text.endswith("}\n")
    for line in [
        "message TensorProto {",
        "  repeated int64 shape = 1;",
        "message SumRowsRequest {",
        "  repeated string names = 2;",
        "message SumRowsResponse {",
        "  float result = 1;",
        "service InferenceService {",
    ]:
        assert line in text.splitlines()
    assert re.search(r"TensorProto x = 1 .*tensor.*float.*batch.*4", text)
    assert re.search(r"rpc PredictSumRows\(.*SumRowsRequest\) returns \(stream .*SumRowsResp", text)
    assert "Add up." in text


def test_an_app_without_models_has_a_file_too(tmp_path: Path) -> None:
    assert_same(BlazeApp(), tmp_path)


WORDS = """
    message option optional repeated required reserved rpc stream returns syntax package import
    service enum extend extensions group oneof map to max string bytes int32 int64 uint64 double
    float true false inf nan weak public edition export local self cls result value shape dtype
    data name version doc blazerpc tensor model param google TensorProto TensorOptions MRequest
    MResponse InferenceService descriptor json_name default deprecated packed
"""
ODD_NAMES = [
    name for name in WORDS.split() if not keyword.iskeyword(name) and name not in ("import",)
] + ["_", "__", "___", "__dunder__", "_private", "trailing_", "a__b", "a_1", "CamelCase", "x" * 300]


def test_any_parameter_name_compiles_whatever_it_means_elsewhere(tmp_path: Path) -> None:
    by_json_name = {re.sub("_+(.?)", lambda m: m[1].upper(), name): name for name in ODD_NAMES}
    names = list(by_json_name.values())
    assert len(names) > 60
    for annotation in ("str", "list[int]", "TensorInput[np.float32, 'batch']"):
        assert_same(app_of(("m", model_of(*(f"{n}: {annotation}" for n in names)))), tmp_path)


@pytest.mark.parametrize("name", ["_", "__", "x", "message"])
def test_a_parameter_may_be_the_only_one(tmp_path: Path, name: str) -> None:
    assert_same(app_of(("m", model_of(f"{name}: int"))), tmp_path)


identifiers = st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)


@given(names=st.lists(identifiers, min_size=1, max_size=5, unique=True))
@compiling
def test_parameters_that_can_be_registered_compile(names: list[str], tmp_path: Path) -> None:
    app = BlazeApp()
    try:
        app.model("m")(model_of(*(f"{name}: int" for name in names)))
    except ValidationError as error:
        assert "JSON name" in str(error)  # noqa: PT017 - the other way is as good
        return
    assert_same(app, tmp_path)


model_names = st.from_regex("[A-Za-z][A-Za-z0-9_-]{0,8}", fullmatch=True)


@given(names=st.lists(model_names, min_size=1, max_size=5, unique=True))
@compiling
def test_models_that_can_be_registered_compile(names: list[str], tmp_path: Path) -> None:
    app = BlazeApp()
    for name in names:
        try:
            app.model(name)(model_of("x: int"))
        except ValidationError as error:
            assert "its rpc" in str(error)  # noqa: PT017 - the other way is as good
    assert_same(app, tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("predict-foo", "foo-request"),
        ("predict-foo", "foo-response"),
        ("predict-tensor", "tensor", "tensor-proto"),
        ("request", "response", "request-request"),
        ("blazerpc", "google", "inference-service", "stream", "returns", "rpc"),
    ],
)
def test_models_whose_names_meet_those_of_messages_compile(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    assert_same(app_of(*((name, model_of("x: int")) for name in names)), tmp_path)


DOCS = [
    "with \"quotes\" and 'apostrophes'",
    "with\nseveral\n\n    lines\n",
    r"with \backslashes\n and \x41 \" \\",
    "ein Größenmaß, 模型, 🙂, \u2028 \u2029 \x85",
    "\t\r\x00\x01\x1b\x7f",
    "// no comment */ /* { } [ ] ; = option (blazerpc.model) = {};",
    '"""',
    "}" * 50,
    "ends with a backslash\\",
]


@pytest.mark.parametrize("doc", DOCS)
def test_any_documentation_survives_protoc(doc: str, tmp_path: Path) -> None:
    model = model_of("x: int")
    model.__doc__ = doc
    assert_same(app_of(("m", model)), tmp_path)


@given(doc=st.text(st.characters(exclude_categories=["Cs"])))
@compiling
def test_whatever_is_written_as_documentation_survives_protoc(doc: str, tmp_path: Path) -> None:
    model = model_of("x: int")
    model.__doc__ = doc
    assert_same(app_of(("m", model)), tmp_path)


# The same values in messages of both: ours, and those of protoc's descriptor.

text = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "a_str": text,
    "a_int": st.integers(-(1 << 63), (1 << 63) - 1),
    "a_float": st.floats(width=32),
    "a_bool": st.booleans(),
    "a_bytes": st.binary(),
    "a_float32": st.floats(width=32),
    "a_float64": st.floats(),
    "a_int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "a_int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "a_uint32": st.integers(0, (1 << 32) - 1),
    "a_uint64": st.integers(0, (1 << 64) - 1),
    "a_np_bool": st.booleans(),
    "strs": st.lists(text),
    "ints": st.lists(st.integers(-(1 << 63), (1 << 63) - 1)),
    "doubles": st.lists(st.floats()),
    "bools": st.lists(st.booleans()),
    "blobs": st.lists(st.binary()),
    "x": hnp.arrays(np.float32, st.tuples(st.integers(0, 3), st.just(4))),
    "y": hnp.arrays(np.str_, st.integers(0, 3), elements=st.text("aé模🙂")),
    "z": hnp.arrays(np.complex64, ()),
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[type[Message], type[Message]]:
    """Our message class, and the one of protoc's descriptor."""
    app = app_of(("every-type", model_of(*EVERY_TYPE)))
    schemas = build_schema(app.registry), compiled(app, tmp_path_factory.mktemp("proto"))
    ours, theirs = (
        message_factory.GetMessageClass(schema.message("blazerpc.EveryTypeRequest"))
        for schema in schemas
    )
    return ours, theirs


def filled(message: Any, values: dict[str, Any]) -> Message:
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            tensor = serialize_tensor(value)
            getattr(message, name).shape.extend(tensor.shape)
            getattr(message, name).dtype = tensor.dtype
            getattr(message, name).data = tensor.data
        elif isinstance(value, list):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    result: Message = message
    return result


@given(values=st.fixed_dictionaries({}, optional=VALUES))
@settings(max_examples=200, deadline=None)
def test_messages_of_both_are_the_same_bytes(
    both: tuple[type[Message], type[Message]], values: dict[str, Any]
) -> None:
    ours, theirs = (filled(kind(), values) for kind in both)
    data = ours.SerializeToString()
    assert theirs.SerializeToString() == data
    assert both[0].FromString(data).SerializeToString() == data
    assert both[1].FromString(data).SerializeToString() == data


def test_the_exported_options_are_those_that_reflection_serves(tmp_path: Path) -> None:
    output = tmp_path / "options.binpb"
    export_proto(BlazeApp(), tmp_path)
    arguments = [
        "protoc",
        f"-I{tmp_path}",
        f"-I{INCLUDES}",
        "--include_imports",
        f"--descriptor_set_out={output}",
        OPTIONS_FILE,
    ]
    assert protoc.main(arguments) == 0
    theirs = Schema(FileDescriptorSet.FromString(output.read_bytes()).file)
    ours = build_schema(ModelRegistry())
    assert file_of(theirs, OPTIONS_FILE) == file_of(ours, OPTIONS_FILE)
