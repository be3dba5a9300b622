from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from blazerpc import Tensor
from blazerpc.codegen import build_schema
from blazerpc.codegen.schema import service_file
from blazerpc.runtime import ModelRegistry
from blazerpc_client.schema import Schema
from blazerpc_client.specs import service_spec
from blazerpc_client.wire.options import OPTIONS_FILE, ModelOptions, read_model, read_tensor
from blazerpc_client.wire.tensors import TensorSpec

Rows = Annotated[npt.NDArray[np.float16], Tensor("batch", 4, 0)]


def mixed(text: str, weights: list[np.float64], x: Rows, flag: bool) -> Rows:
    """Mix "them".

    All of them: é, 模型.
    """
    raise NotImplementedError


def letters(text: str) -> Iterator[str]:
    yield from text


async def tokens(prompt: bytes) -> AsyncIterator[list[np.uint32]]:
    yield [np.uint32(prompt[0])]


def registry() -> ModelRegistry:
    models = ModelRegistry()
    models.register("mixed-model", "1", mixed)
    models.register("mixed-model", "2", mixed)
    models.register("letters", "1", letters)
    models.register("tokens", "beta", tokens)
    return models


def message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    (found,) = (message for message in file.message_type if message.name == name)
    return found


def test_the_file_is_the_one_of_the_contract() -> None:
    file = service_file(registry())
    assert (file.name, file.package, file.syntax) == ("blaze_service.proto", "blazerpc", "proto3")
    assert list(file.dependency) == [OPTIONS_FILE]
    assert [service.name for service in file.service] == ["InferenceService"]


def test_a_tensor_is_the_message_of_the_contract() -> None:
    fields = message(service_file(ModelRegistry()), "TensorProto").field
    kinds = [(f.number, f.name, FieldDescriptorProto.Type.Name(f.type), f.label) for f in fields]
    assert kinds == [
        (1, "shape", "TYPE_INT64", FieldDescriptorProto.LABEL_REPEATED),
        (2, "dtype", "TYPE_STRING", FieldDescriptorProto.LABEL_OPTIONAL),
        (3, "data", "TYPE_BYTES", FieldDescriptorProto.LABEL_OPTIONAL),
    ]


def test_each_model_is_one_rpc_with_messages_of_its_own() -> None:
    (service,) = service_file(registry()).service
    rpcs = [(m.name, m.input_type, m.output_type, m.server_streaming) for m in service.method]
    of = ".blazerpc."
    assert rpcs == [
        ("PredictMixedModel", f"{of}MixedModelRequest", f"{of}MixedModelResponse", False),
        ("PredictMixedModelV2", f"{of}MixedModelV2Request", f"{of}MixedModelV2Response", False),
        ("PredictLetters", f"{of}LettersRequest", f"{of}LettersResponse", True),
        ("PredictTokensVbeta", f"{of}TokensVbetaRequest", f"{of}TokensVbetaResponse", True),
    ]
    assert not any(method.client_streaming for method in service.method)


def test_a_new_version_changes_nothing_of_the_old_one() -> None:
    before, after = ModelRegistry(), ModelRegistry()
    for models in (before, after):
        models.register("letters", "1", letters)
    after.register("letters", "2", mixed)
    old, new = service_file(before), service_file(after)
    assert list(new.message_type)[: len(old.message_type)] == list(old.message_type)
    assert new.service[0].method[0] == old.service[0].method[0]


def test_parameters_are_numbered_in_their_order_and_keep_their_names() -> None:
    file = service_file(registry())
    request = message(file, "MixedModelRequest").field
    assert [(field.number, field.name) for field in request] == [
        (1, "text"),
        (2, "weights"),
        (3, "x"),
        (4, "flag"),
    ]
    for name in ("MixedModelResponse", "TokensVbetaResponse"):
        response = message(file, name).field
        assert [(field.number, field.name) for field in response] == [(1, "result")]


def test_what_proto3_cannot_say_is_in_the_options() -> None:
    schema = build_schema(registry())
    method = schema.method("blazerpc.InferenceService.PredictMixedModelV2")
    assert read_model(method) == ModelOptions(
        name="mixed-model", version="2", doc='Mix "them".\n\nAll of them: é, 模型.'
    )
    spec = TensorSpec(np.dtype(np.float16), ("batch", 4, 0))
    assert read_tensor(method.input_type.fields_by_name["x"]) == spec
    assert read_tensor(method.output_type.fields_by_name["result"]) == spec
    assert read_tensor(method.input_type.fields_by_name["text"]) is None


def test_a_model_without_documentation_has_an_empty_one() -> None:
    method = build_schema(registry()).method("blazerpc.InferenceService.PredictLetters")
    assert read_model(method) == ModelOptions(name="letters", version="1", doc="")


def test_the_schema_holds_all_that_it_imports_in_a_pool_of_its_own() -> None:
    schema = build_schema(registry())
    assert [file.name for file in schema.files] == [
        descriptor_pb2.DESCRIPTOR.name,
        OPTIONS_FILE,
        "blaze_service.proto",
    ]
    assert schema.services == ["blazerpc.InferenceService"]
    assert build_schema(registry()).pool is not schema.pool


def test_two_apps_can_have_schemas_of_the_same_names() -> None:
    one, other = ModelRegistry(), ModelRegistry()
    one.register("model", "1", letters)
    other.register("model", "1", mixed)
    fields = [
        len(build_schema(models).message("blazerpc.ModelRequest").fields) for models in (one, other)
    ]
    assert fields == [1, 4]


def test_the_schema_is_the_same_every_time() -> None:
    assert build_schema(registry()).to_bytes() == build_schema(registry()).to_bytes()


def test_a_client_reads_every_model_from_the_schema() -> None:
    schema = Schema.from_bytes(build_schema(registry()).to_bytes())
    spec = service_spec(schema, "blazerpc.InferenceService")
    models = [(m, m.model) for m in spec.methods if m.model]
    assert [(m.python_name, model.name, model.version, m.streaming) for m, model in models] == [
        ("predict_mixed_model", "mixed-model", "1", False),
        ("predict_mixed_model_v2", "mixed-model", "2", False),
        ("predict_letters", "letters", "1", True),
        ("predict_tokens_vbeta", "tokens", "beta", True),
    ]
    assert str(spec.methods[0].result.tensor) == "float16 (batch, 4, 0)"


def test_documentation_that_is_no_unicode_text_does_not_keep_a_model_from_being_served() -> None:
    def model(text: str) -> str:
        return text

    model.__doc__ = "half of a pair: \ud83d"
    models = ModelRegistry()
    models.register("model", "1", model)
    options: Any = read_model(build_schema(models).method("blazerpc.InferenceService.PredictModel"))
    assert options.doc.startswith("half of a pair: ")
