"""Exceptions keep their meaning on their way from a replica, whatever they are."""

from __future__ import annotations

import pickle
import threading
import traceback

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc import InferenceError
from blazerpc.engines.failure import ReplicaError, received, sent


class TwoPartsError(Exception):
    """Can be pickled, and not be made again of that."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class LocalStateError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("has a lock")
        self.lock = threading.Lock()


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """Return what came back of an exception that was raised, and sent."""
    try:
        raise error from cause
    except Exception as caught:
        failure = pickle.loads(pickle.dumps(sent(caught)))
    return received(failure, "model")


def test_an_exception_is_what_it_was_and_says_where_it_was_raised() -> None:
    error = raised(ValueError("of a replica"))
    assert type(error) is ValueError
    assert str(error) == "of a replica"
    text = "".join(traceback.format_exception(error))
    assert "in the replica:" in text
    assert "raise error from cause" in text


def test_a_status_is_what_it_was() -> None:
    error = raised(GRPCError(Status.NOT_FOUND, "no such row"))
    assert isinstance(error, GRPCError)
    assert (error.status, error.message) == (Status.NOT_FOUND, "no such row")


def test_a_status_whose_details_cannot_be_sent_goes_without_them() -> None:
    error = raised(GRPCError(Status.NOT_FOUND, "no such row", [LocalStateError()]))
    assert isinstance(error, GRPCError)
    assert (error.status, error.message, error.details) == (Status.NOT_FOUND, "no such row", None)


def test_an_inference_error_keeps_its_text_and_its_cause() -> None:
    error = raised(InferenceError("the model raised", model_name="model"), KeyError("x"))
    assert isinstance(error, InferenceError)
    assert (str(error), error.model_name) == ("the model raised", "model")
    assert type(error.__cause__) is KeyError


def test_an_inference_error_without_a_cause_is_one() -> None:
    error = raised(InferenceError("no list", model_name="model"))
    assert isinstance(error, InferenceError)
    assert error.__cause__ is None


@pytest.mark.parametrize("error", [TwoPartsError(1, 2), LocalStateError()], ids=repr)
def test_what_cannot_be_sent_is_told_by_its_name_and_text(error: Exception) -> None:
    cause = raised(InferenceError("the model raised", model_name="model"), error).__cause__
    assert isinstance(cause, ReplicaError)
    assert str(cause) == f"{type(error).__name__}: {error}"
