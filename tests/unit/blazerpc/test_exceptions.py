from __future__ import annotations

import pytest

from blazerpc import (
    BlazeRPCError,
    ConfigurationError,
    InferenceError,
    ModelNotFoundError,
    SerializationError,
    ValidationError,
)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("text"),
        InferenceError("text"),
        ModelNotFoundError("text"),
        SerializationError("text"),
        ValidationError("text"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_is_one_of_ours_and_says_its_text(error: BlazeRPCError) -> None:
    assert isinstance(error, BlazeRPCError)
    assert "text" in str(error)


def test_a_validation_error_knows_its_field() -> None:
    assert ValidationError("bad", field="x").field == "x"
    assert ValidationError("bad").field is None
    assert str(ValidationError("bad", field="x")) == "bad"


def test_a_serialization_error_knows_its_dtype() -> None:
    assert SerializationError("bad", dtype="object").dtype == "object"
    assert SerializationError("bad").dtype is None


def test_an_inference_error_knows_its_model() -> None:
    assert InferenceError("bad", model_name="digits").model_name == "digits"
    assert InferenceError("bad").model_name is None


def test_a_model_that_is_not_found_is_named_with_its_version() -> None:
    error = ModelNotFoundError("digits", "2")
    assert (error.name, error.version) == ("digits", "2")
    assert str(error) == "no model 'digits' of version '2'"
    assert ModelNotFoundError("digits").version == "1"
