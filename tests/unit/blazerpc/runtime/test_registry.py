"""Models by name and version, and what each can be called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc import ModelNotFoundError, ValidationError
from blazerpc.runtime import ModelRegistry
from tests.unit.blazerpc.runtime.registration import refused, register, score, taking


def test_a_model_is_what_its_function_says() -> None:
    model = register(score)
    assert (model.name, model.version, model.streaming) == ("my-model", "1", False)
    assert model.func is score
    assert dict(model.input_types) == {"text": str}
    assert model.output_type is float
    assert {name: str(row) for name, row in model.parameters.items()} == {"text": "str"}
    assert str(model.result) == "float"
    assert model.doc == "Score a text.\n\nHigher is better."


def test_a_function_without_documentation_has_an_empty_one() -> None:
    assert register(taking("x")).doc == ""


def test_models_are_found_by_name_and_version() -> None:
    registry = ModelRegistry()
    registry.register("score", "1", score)
    registry.register("score", "2", score)
    assert registry.get("score").version == "1"
    assert registry.get("score", "2").version == "2"
    assert registry.get_or_none("score", "3") is None
    assert [model.version for model in registry.list_models()] == ["1", "2"]


@pytest.mark.parametrize(("name", "version"), [("score", "2"), ("nope", "1"), ("Score", "1")])
def test_a_model_that_is_not_there_is_named(name: str, version: str) -> None:
    registry = ModelRegistry()
    registry.register("score", "1", score)
    with pytest.raises(ModelNotFoundError, match=f"no model '{name}' of version '{version}'"):
        registry.get(name, version)


@pytest.mark.parametrize(
    ("name", "version", "rpc"),
    [
        ("my-model", "1", "PredictMyModel"),
        ("my_model", "1", "PredictMyModel"),
        ("my-model", "2", "PredictMyModelV2"),
        ("sentiment", "2024_01", "PredictSentimentV2024_01"),
        ("GPT", "1", "PredictGPT"),
        ("a", "1", "PredictA"),
        ("a1-b2", "beta", "PredictA1B2Vbeta"),
        ("a--b_", "1", "PredictAB"),
    ],
)
def test_the_rpc_is_named_after_name_and_version(name: str, version: str, rpc: str) -> None:
    model = register(score, name, version)
    assert model.rpc == rpc
    assert model.rpc == f"Predict{model.stem}"


@given(st.from_regex("[A-Za-z][A-Za-z0-9_-]*", fullmatch=True))
def test_every_name_of_letters_digits_and_dashes_is_allowed(name: str) -> None:
    model = register(score, name)
    assert model.name == name
    assert model.rpc.isidentifier()


@pytest.mark.parametrize(
    "name", ["", "1st", "-a", "_a", "a b", "a.b", "a/b", "größe", "a\n", "模型", "a:1"]
)
def test_a_name_that_makes_no_identifier_is_refused(name: str) -> None:
    error = refused(score, name=name)
    assert "a name has letters, digits, '-' and '_', and begins with a letter" in str(error)


@pytest.mark.parametrize("name", [None, 1, b"score", score], ids=repr)
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    assert "a name has letters, digits" in str(refused(score, name=name))


@pytest.mark.parametrize("version", ["", "1.0", "a b", "v-1", "é", "1\n"])
def test_a_version_that_cannot_end_an_identifier_is_refused(version: str) -> None:
    error = refused(score, version=version)
    assert f"version {version!r}: use letters, digits and '_'" in str(error)


@pytest.mark.parametrize("version", [2, 1.5, None])
def test_a_version_that_is_no_text_is_refused(version: Any) -> None:
    error = refused(score, version=version)
    assert f"version {version!r}: use letters, digits and '_'" in str(error)


def test_one_name_and_version_is_registered_once() -> None:
    registry = ModelRegistry()
    registry.register("score", "1", score)
    with pytest.raises(ValidationError, match="model 'score': version '1' is registered already"):
        registry.register("score", "1", taking("x"))
    assert [model.func for model in registry.list_models()] == [score]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("my-model", "1"), ("my_model", "1")),
        (("my-model", "1"), ("MyModel", "1")),
        (("my-model", "1"), ("my--model", "1")),
        (("my-model", "1"), ("my-model-", "1")),
        (("model", "2"), ("model-V2", "1")),
        (("gpt", "1"), ("GPT", "1")),
        (("my-gpt", "1"), ("MyGPT", "1")),
    ],
)
def test_two_models_on_one_rpc_name_are_refused(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    registry = ModelRegistry()
    registry.register(*first, score)
    with pytest.raises(ValidationError) as caught:
        registry.register(*second, score)
    message = str(caught.value)
    assert message.startswith(f"model {second[0]!r}: its rpc Predict")
    assert f"would be that of model {first[0]!r}, version {first[1]!r}" in message
    assert message.endswith("choose another name or version")
    assert len(registry.list_models()) == 1
