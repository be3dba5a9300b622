"""Exceptions of a model on their way from its replica to the front door."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass

from grpclib.exceptions import GRPCError

from blazerpc.exceptions import InferenceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An exception, in a form that always can be sent.

    Attributes:
        error: itself, pickled; None when it cannot be, or is an ``InferenceError``.
        text: of it.
        trace: where it was raised.
        ours: whether it is an ``InferenceError``.
        cause: what that was raised from, if anything.
    """

    error: bytes | None
    text: str
    trace: str
    ours: bool
    cause: Failure | None


class ReplicaError(Exception):
    """Stands for an exception that its replica could not send."""


def sent(error: BaseException) -> Failure:
    """Return what stands for ``error`` on the way."""
    ours = isinstance(error, InferenceError)
    data = None if ours else _pickled(error)
    if data is None and isinstance(error, GRPCError):  # its details cannot be
        data = _pickled(GRPCError(error.status, str(error.message)))
    return Failure(
        error=data,
        text=str(error) if ours else f"{type(error).__name__}: {error}",
        trace="".join(traceback.format_exception(error)),
        ours=ours,
        cause=sent(error.__cause__) if ours and error.__cause__ is not None else None,
    )


def received(failure: Failure, model: str) -> Exception:
    """Return the exception that was sent, with a note that says where it was raised.

    What the model raised is the cause of an ``InferenceError``, as it is without a replica, so that
    statuses are chosen by its class.
    """
    error: Exception
    if failure.ours:
        error = InferenceError(failure.text, model_name=model)
        if failure.cause is not None:
            error.__cause__ = received(failure.cause, model)
        return error
    error = _unpickled(failure) or ReplicaError(failure.text)
    error.add_note(f"in the replica:\n{failure.trace}")
    return error


def _pickled(error: BaseException) -> bytes | None:
    try:
        data = pickle.dumps(error)
        # Many exceptions can be pickled, and not be made again of what that gave.
        return data if type(pickle.loads(data)) is type(error) else None  # noqa: S301 - its own
    except Exception:  # whatever its own code raises
        return None


def _unpickled(failure: Failure) -> Exception | None:
    if failure.error is None:
        return None
    try:
        error = pickle.loads(failure.error)  # noqa: S301 - Ray's objects are pickles, too
    except Exception:  # its class is not here
        return None
    return error if isinstance(error, Exception) else None
