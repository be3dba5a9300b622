from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client import Internal, InvalidArgument, Schema, StreamMethod, UnaryMethod
from blazerpc_client.specs import is_blazerpc, service_spec
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.options import ModelOptions, write_model
from tests.unit.blazerpc_client.schemas import (
    SERVICE,
    TENSOR,
    Model,
    add_field,
    message_class,
    schema_of,
    schema_of_files,
    service_file,
    spec_of,
    tensor,
)
from tests.unit.blazerpc_client.strategies import many


def file(name: str, *imports: str) -> FileDescriptorProto:
    return FileDescriptorProto(name=name, dependency=imports, syntax="proto3")


# A graph without a circle: each file imports some of those before it.
graphs = st.integers(1, 8).flatmap(
    lambda count: st.tuples(
        *(
            st.sets(st.integers(0, number - 1)) if number else st.just(set[int]())
            for number in range(count)
        )
    )
)


@many
@given(graph=graphs, data=st.data())
def test_each_file_stands_after_those_it_imports(
    graph: tuple[set[int], ...], data: st.DataObject
) -> None:
    files = [
        file(f"{number}.proto", *(f"{other}.proto" for other in sorted(imports)))
        for number, imports in enumerate(graph)
    ]
    schema = Schema(data.draw(st.permutations(files)))
    assert sorted(f.name for f in schema.files) == sorted(f.name for f in files)
    seen: set[str] = set()
    for ordered in schema.files:
        assert seen.issuperset(ordered.dependency)
        seen.add(ordered.name)


def test_an_import_that_is_missing_is_named() -> None:
    with pytest.raises(WireError, match=r"^b\.proto is imported and missing$"):
        Schema([file("a.proto", "b.proto")])


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([file("a", "a")], "^a imports itself, through a$"),
        ([file("a", "b"), file("b", "a")], "^a imports itself, through a, b$"),
        ([file("a", "b"), file("b", "c"), file("c", "b")], "^b imports itself, through a, b, c$"),
    ],
)
def test_imports_in_a_circle_are_refused(files: list[FileDescriptorProto], message: str) -> None:
    with pytest.raises(WireError, match=message):
        Schema(files)


def test_a_long_chain_of_imports_is_read() -> None:
    count = 3000
    chain = [file(f"{n}.proto", f"{n + 1}.proto") for n in range(count)] + [file(f"{count}.proto")]
    assert [f.name for f in Schema(chain).files] == [f.name for f in reversed(chain)]


def broken(case: str) -> FileDescriptorProto:
    descriptor = service_file(Model())
    match case:
        case "a type that is not there":
            descriptor.message_type[0].field[0].type_name = ".blazerpc.Nothing"
            descriptor.message_type[0].field[0].type = FieldDescriptorProto.TYPE_MESSAGE
        case "a method of messages that are not there":
            descriptor.service[0].method[0].input_type = ".blazerpc.Nothing"
        case "two messages of one name":
            descriptor.message_type.add(name="EchoRequest")
        case "a name that is none":
            descriptor.message_type[0].field[0].name = "a b"
        case "code in a name":
            descriptor.message_type[0].name = "X: ...\nimport os"
        case "a field without a number":
            descriptor.message_type[0].field[0].number = 0
        case "two fields of one number":
            add_field(descriptor.message_type[0], "other", "string").number = 1
    return descriptor


@pytest.mark.parametrize(
    "case",
    [
        "a type that is not there",
        "a method of messages that are not there",
        "two messages of one name",
        "a name that is none",
        "code in a name",
        "a field without a number",
        "two fields of one number",
    ],
)
def test_a_file_that_is_inconsistent_is_refused_by_name(case: str) -> None:
    with pytest.raises(WireError, match=r"^blazerpc/InferenceService\.proto: "):
        schema_of_files(broken(case))


def test_a_schema_survives_as_bytes() -> None:
    schema = schema_of(Model(parameters={"x": tensor("f4", "batch")}))
    again = Schema.from_bytes(schema.to_bytes())
    assert again.files == schema.files
    assert again.to_bytes() == schema.to_bytes()
    assert service_spec(again, SERVICE) == service_spec(schema, SERVICE)


def test_schemas_of_the_same_names_live_side_by_side() -> None:
    text, number = schema_of(Model()), schema_of(Model(parameters={"number": "int64"}))
    assert [f.name for f in text.message("blazerpc.EchoRequest").fields] == ["text"]
    assert [f.name for f in number.message("blazerpc.EchoRequest").fields] == ["number"]


def test_services_are_listed_by_full_name() -> None:
    bare = FileDescriptorProto(name="bare.proto", syntax="proto3")
    bare.service.add(name="Bare")
    assert schema_of_files(service_file(Model()), bare).services == [SERVICE, "Bare"]


def test_what_is_not_there_is_not_found() -> None:
    with pytest.raises(KeyError, match=r"blazerpc\.Nothing"):
        schema_of().service("blazerpc.Nothing")


def test_a_service_is_described_in_plain_values() -> None:
    _, service = spec_of(
        Model(
            stem="Digits",
            name="digits",
            doc="Which digit.",
            parameters={"x": tensor("f4", "batch", 64), "any": TENSOR, "top_k": "int32"},
            result=tensor("f8", "batch", 10),
        ),
        Model(
            stem="MyTokensV2",
            name="my-tokens",
            version="2",
            streaming=True,
            result="repeated string",
        ),
    )
    assert service.full_name == SERVICE
    assert service.client_name == "InferenceClient"
    digits, tokens = service.methods
    assert digits.name == "PredictDigits"
    assert digits.python_name == "predict_digits"
    assert digits.full_name == f"{SERVICE}.PredictDigits"
    assert digits.model == ModelOptions(name="digits", version="1", doc="Which digit.")
    assert not digits.streaming
    assert (digits.request.name, digits.request.full_name) == (
        "DigitsRequest",
        "blazerpc.DigitsRequest",
    )
    assert [
        (field.name, field.number, field.proto, field.element, field.repeated, field.tensor)
        for field in digits.request.fields
    ] == [
        ("x", 1, "message", np.ndarray[Any, Any], False, tensor("f4", "batch", 64)),
        ("any", 2, "message", np.ndarray[Any, Any], False, None),
        ("top_k", 3, "int32", int, False, None),
    ]
    assert digits.result.tensor == tensor("f8", "batch", 10)
    assert tokens.python_name == "predict_my_tokens_v2"
    assert tokens.model is not None
    assert tokens.model.version == "2"
    assert tokens.streaming
    assert (tokens.result.element, tokens.result.repeated) == (str, True)


def test_what_can_be_left_out_is_told() -> None:
    _, service = spec_of(
        Model(
            parameters={"a": "string", "b": "int32", "c": "repeated string", "d": "string"},
            optional=["a", "b", "result"],
            defaults={"b": "3", "c": "[]"},
        )
    )
    (method,) = service.methods
    assert [
        (field.name, field.optional, field.default, not field.required)
        for field in [*method.request.fields, method.result]
    ] == [
        ("a", True, None, True),
        ("b", True, "3", True),
        ("c", False, "[]", True),
        ("d", False, None, False),
        ("result", True, None, True),
    ]


def test_methods_whose_names_are_one_in_python_are_refused() -> None:
    schema = schema_of(Model(stem="GPT", name="a"), Model(stem="Gpt", name="b"))
    with pytest.raises(
        WireError,
        match=rf"^{SERVICE}: PredictGPT and PredictGpt would both be the client's predict_gpt\(\)$",
    ):
        service_spec(schema, SERVICE)


def with_rpc(name: str) -> Schema:
    descriptor = service_file(Model())
    descriptor.service[0].method[0].name = name
    return schema_of_files(descriptor)


@pytest.mark.parametrize(
    ("rpc", "method"),
    [
        ("Close", "close_"),
        ("WithOptions", "with_options_"),
        ("Import", "import_"),
        ("__init__", "rpc__init__"),
        ("_Unary", "rpc_unary"),
    ],
)
def test_a_method_whose_name_a_client_cannot_have_gets_another(rpc: str, method: str) -> None:
    (spec,) = service_spec(with_rpc(rpc), SERVICE).methods
    assert (spec.python_name, spec.name) == (method, rpc)


@pytest.mark.parametrize("name", ["class", "from", "None", "__x", "__init__", "__class__"])
def test_a_parameter_whose_name_python_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(WireError, match=name):
        spec_of(Model(parameters={name: "string"}))


def test_a_service_of_other_methods_is_not_ours() -> None:
    descriptor = service_file(Model(), Model(stem="Other"))
    descriptor.service[0].method[1].ClearField("options")
    schema = schema_of_files(descriptor)
    assert not is_blazerpc(schema.service(SERVICE))
    assert [bool(method.model) for method in service_spec(schema, SERVICE).methods] == [True, False]


def test_a_service_of_models_is_ours() -> None:
    assert is_blazerpc(schema_of(Model()).service(SERVICE))


def test_a_service_without_methods_is_not_ours() -> None:
    schema = schema_of()
    assert not is_blazerpc(schema.service(SERVICE))
    assert service_spec(schema, SERVICE).methods == ()


@pytest.mark.parametrize("fields", [[], ["result", "other"], ["output"]])
def test_a_response_that_is_not_one_result_is_not_ours(fields: list[str]) -> None:
    descriptor = service_file(Model())
    response = descriptor.message_type[1]
    response.ClearField("field")
    for name in fields:
        add_field(response, name, "string")
    with pytest.raises(WireError, match=r"PredictEcho: not a method of a BlazeRPC server"):
        service_spec(schema_of_files(descriptor), SERVICE)


def test_a_tensor_of_a_dtype_that_this_version_does_not_know_is_named() -> None:
    descriptor = service_file(Model(parameters={"x": tensor("f4")}))
    options = descriptor.message_type[0].field[0].options
    options.MergeFromString(options.SerializeToString().replace(b"float", b"float"[::-1]))
    with pytest.raises(WireError, match=r"x: unknown dtype 'taolf'"):
        service_spec(schema_of_files(descriptor), SERVICE)


def test_a_method_that_streams_requests_is_not_ours() -> None:
    descriptor = service_file(Model())
    descriptor.service[0].method[0].client_streaming = True
    with pytest.raises(WireError, match="PredictEcho"):
        service_spec(schema_of_files(descriptor), SERVICE)


@pytest.fixture
def schema() -> Schema:
    return schema_of(
        Model(parameters={"x": tensor("f4", "batch")}, result=tensor("f4", "batch")),
        Model(stem="Count", streaming=True, parameters={"to": "int64"}, result="int64"),
    )


def test_a_method_turns_arguments_into_a_request_and_an_answer_into_a_result(
    schema: Schema,
) -> None:
    method = UnaryMethod[Any](schema, f"{SERVICE}.PredictEcho")
    assert method.path == "/blazerpc.InferenceService/PredictEcho"
    dims: dict[str, int] = {}
    array = np.array([1, 2], np.float32)
    request = method.encode({"x": array}, dims)
    assert isinstance(request, message_class(schema, "EchoRequest"))
    assert dims == {"batch": 2}
    response = method.response_class()
    # The two messages are alike: one tensor, numbered 1.
    response.MergeFromString(request.SerializeToString())
    np.testing.assert_array_equal(method.decode(response, dims), array)


def test_a_wrong_argument_is_refused_before_anything_is_sent(schema: Schema) -> None:
    method = StreamMethod[int](schema, f"{SERVICE}.PredictCount")
    with pytest.raises(InvalidArgument, match=r"^to: expected int, got str$") as error:
        method.encode({"to": "3"}, {})
    assert error.value.field == "to"
    with pytest.raises(InvalidArgument, match=r"^till: no such parameter; there are: to$"):
        method.encode({"till": 3}, {})
    with pytest.raises(InvalidArgument, match=r"^to: missing$"):
        method.encode({}, {})


def test_an_answer_of_another_size_than_the_request_breaks_the_schema(schema: Schema) -> None:
    method = UnaryMethod[Any](schema, f"{SERVICE}.PredictEcho")
    response = method.response_class()
    response.MergeFromString(method.encode({"x": np.zeros(3, np.float32)}, {}).SerializeToString())
    with pytest.raises(
        Internal, match=r"^the response does not match the schema: result: dimension 'batch' is 3"
    ):
        method.decode(response, {"batch": 2})


def test_a_method_that_is_not_there_is_not_found(schema: Schema) -> None:
    with pytest.raises(KeyError, match="PredictNothing"):
        UnaryMethod[Any](schema, f"{SERVICE}.PredictNothing")


def test_messages_are_numbered_as_they_are() -> None:
    descriptor = service_file(Model())
    request = descriptor.message_type[0]
    request.field[0].number = 7
    add_field(request, "first", "string").number = 3
    message = service_spec(schema_of_files(descriptor), SERVICE).methods[0].request
    assert {field.name: field.number for field in message.fields} == {"text": 7, "first": 3}


def test_a_model_is_told_by_its_option_and_not_by_its_rpc() -> None:
    descriptor = service_file(Model())
    method = descriptor.service[0].method[0]
    method.ClearField("options")
    write_model(method, ModelOptions(name="renamed", version="3", doc=""))
    (spec,) = service_spec(schema_of_files(descriptor), SERVICE).methods
    assert spec.model == ModelOptions(name="renamed", version="3", doc="")
