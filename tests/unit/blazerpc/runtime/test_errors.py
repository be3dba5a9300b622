from __future__ import annotations

import logging
import re

import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import (
    BlazeRPCError,
    ConfigurationError,
    InferenceError,
    ModelNotFoundError,
    SerializationError,
    ValidationError,
)
from blazerpc.runtime.errors import as_grpc_error, internal, invalid_argument, user_statuses


def translated(error: GRPCError | BlazeRPCError) -> GRPCError:
    answer = as_grpc_error("model 'm'", error)
    # It must not carry what went wrong inside.
    assert answer.__cause__ is None
    assert answer.__context__ is None
    return answer


def caused(cause: BaseException) -> InferenceError:
    """Return the error that the executor makes of what a model raises."""
    error = InferenceError(f"model 'm' raised {cause!r}", model_name="m")
    error.__cause__ = cause
    return error


def test_a_bad_request_is_an_invalid_argument_that_names_its_field() -> None:
    error = translated(ValidationError("expected dtype float32, got float64", field="x"))
    assert error.status is Status.INVALID_ARGUMENT
    assert error.message == "x: expected dtype float32, got float64"
    assert error.details == [
        BadRequest(
            field_violations=[
                BadRequest.FieldViolation(
                    field="x", description="expected dtype float32, got float64"
                )
            ]
        )
    ]


def test_a_bad_request_fits_into_headers_whatever_it_quotes() -> None:
    error = translated(ValidationError("é" * 100_000, field="ü" * 100_000))
    assert error.status is Status.INVALID_ARGUMENT
    assert len((error.message or "").encode()) <= 1024
    assert error.details is not None
    (details,) = error.details
    assert details.ByteSize() <= 3072


def test_a_bad_request_without_a_field_has_details_too() -> None:
    error = invalid_argument("the request holds no message", None)
    assert error.message == "the request holds no message"
    (details,) = error.details
    assert [violation.field for violation in details.field_violations] == [""]


def test_a_model_that_is_not_found_is_not_found() -> None:
    error = translated(ModelNotFoundError("digits", "2"))
    assert error.status is Status.NOT_FOUND
    assert error.message == "no model 'digits' of version '2'"


@pytest.mark.parametrize(
    "error",
    [
        caused(RuntimeError("the secret")),
        InferenceError("the secret"),
        SerializationError("the secret"),
        ConfigurationError("the secret"),
        BlazeRPCError("the secret"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_other_failure_is_internal_with_an_id_that_the_log_has_too(
    error: BlazeRPCError, caplog: pytest.LogCaptureFixture
) -> None:
    failure = translated(error)
    assert failure.status is Status.INTERNAL
    assert failure.details is None
    match = re.fullmatch(r"model 'm' failed; error id ([0-9a-f]{12})", failure.message or "")
    assert match
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert match[1] in record.getMessage()
    assert "the secret" in record.getMessage()


def test_the_log_has_the_traceback_of_what_the_model_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise RuntimeError("the secret")
    except RuntimeError as error:
        internal("model 'm'", caused(error))
    assert 'raise RuntimeError("the secret")' in caplog.text


def test_every_failure_has_an_id_of_its_own() -> None:
    ids = {internal("model 'm'", ValueError()).message for _ in range(100)}
    assert len(ids) == 100


class TooLargeError(ValueError):
    pass


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        (TooLargeError("text"), Status.RESOURCE_EXHAUSTED),
        (ValueError("text"), Status.FAILED_PRECONDITION),
        (UnicodeError("text"), Status.FAILED_PRECONDITION),
        (IndexError("text"), Status.NOT_FOUND),
        (RuntimeError("text"), Status.INTERNAL),
    ],
)
def test_the_nearest_base_class_decides_on_the_users_status(
    cause: Exception, status: Status
) -> None:
    token = user_statuses.set(
        {
            ValueError: Status.FAILED_PRECONDITION,
            LookupError: Status.NOT_FOUND,
            TooLargeError: Status.RESOURCE_EXHAUSTED,
        }
    )
    try:
        error = translated(caused(cause))
    finally:
        user_statuses.reset(token)
    assert error.status is status
    assert (error.message == "text") is (status is not Status.INTERNAL)


def test_the_users_statuses_are_for_what_models_raise_and_nothing_else() -> None:
    token = user_statuses.set({Exception: Status.DATA_LOSS})
    try:
        assert translated(ValidationError("bad", field="x")).status is Status.INVALID_ARGUMENT
        assert translated(InferenceError("returned something else")).status is Status.INTERNAL
        assert translated(caused(ValidationError("bad"))).status is Status.DATA_LOSS
    finally:
        user_statuses.reset(token)
