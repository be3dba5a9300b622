"""Which failure gets which gRPC status: the one place that decides it."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Final

from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc.exceptions import (
    BlazeRPCError,
    DeadlineExceededError,
    InferenceError,
    ModelNotFoundError,
    OverloadedError,
    ValidationError,
)

log: logging.Logger = logging.getLogger("blazerpc")

# gRPC's own libraries take 8 KiB of headers unless they are told otherwise. Of a message, each byte
# may become three; of details, three bytes become four.
_MAX_MESSAGE: Final = 1024
_MAX_DETAILS: Final = 3072

#: What ``ExceptionMiddleware`` adds for the current call: the user's exceptions and their statuses.
user_statuses: Final[ContextVar[Mapping[type[Exception], Status]]] = ContextVar("user_statuses")


def invalid_argument(message: str, field: str | None) -> GRPCError:
    """Return INVALID_ARGUMENT with ``google.rpc.BadRequest`` details that name the field."""
    # Either may hold what the client sent: a shape, or a key of a map.
    where, what = _short(field or ""), _short(message)
    violation = BadRequest.FieldViolation(field=where, description=what)
    text = what if field is None else _short(f"{where}: {what}")
    return GRPCError(Status.INVALID_ARGUMENT, text, [BadRequest(field_violations=[violation])])


class RefusedError(GRPCError):
    """No room for the call: when its caller may come back, in details and in metadata.

    https://github.com/grpc/proposal/blob/master/A6-client-retries.md, Pushback
    """

    def __init__(self, error: OverloadedError) -> None:
        milliseconds = math.ceil(error.retry_after * 1000)
        info = RetryInfo()
        info.retry_delay.FromMilliseconds(milliseconds)
        super().__init__(Status.RESOURCE_EXHAUSTED, str(error), [info])
        #: Milliseconds, as ``grpc-retry-pushback-ms`` has them.
        self.pushback: str = str(milliseconds)


def internal(what: str, error: BaseException) -> GRPCError:
    """Log ``error`` under an id, and return INTERNAL with that id and nothing of ``error``.

    What failed a whole batch is logged once, and has one id for all of its callers.
    """
    ours = error if isinstance(error, InferenceError) else InferenceError(str(error))
    if not ours.logged:
        # An InferenceError adds nothing to the exception that it was raised from.
        cause = error.__cause__ or error
        log.error("%s failed, error id %s: %s", what, ours.error_id, error, exc_info=cause)
        ours.logged = True
    return GRPCError(Status.INTERNAL, f"{what} failed; error id {ours.error_id}")


def as_grpc_error(what: str, error: GRPCError | BlazeRPCError) -> GRPCError:
    """Return what the caller of ``what`` gets for ``error``."""
    match error:
        case GRPCError(status=Status.OK):
            return internal(what, error)
        case GRPCError():
            return _sendable(error)
        case ValidationError():
            return invalid_argument(str(error), error.field)
        case ModelNotFoundError():
            return GRPCError(Status.NOT_FOUND, str(error))
        case OverloadedError():
            return RefusedError(error)
        case DeadlineExceededError():
            return GRPCError(Status.DEADLINE_EXCEEDED, str(error))
        case BlazeRPCError():
            return _user_status(error) or internal(what, error)


def _user_status(error: BlazeRPCError) -> GRPCError | None:
    """Return what the user has decided for the exception that the model raised."""
    cause = error.__cause__
    if not isinstance(error, InferenceError) or cause is None:
        return None
    statuses = user_statuses.get({})
    for kind in type(cause).__mro__:  # the nearest base class decides
        if kind in statuses:
            return _sendable(GRPCError(statuses[kind], str(cause)))
    return None


def _sendable(error: GRPCError) -> GRPCError:
    """Return a model's own error as headers can carry it.

    grpclib fails at any other, and its caller would wait for an answer that never comes.
    """
    message = error.message
    if message is not None:
        message = _short(str(message))
    details = error.details if isinstance(error.details, list | tuple) else ()
    messages = [detail for detail in details if isinstance(detail, Message)]
    if sum(detail.ByteSize() for detail in messages) > _MAX_DETAILS:
        messages = []
    return GRPCError(error.status, message, messages or None)


def _short(text: str) -> str:
    """Return as much of a text as headers can carry."""
    return text.encode(errors="replace")[:_MAX_MESSAGE].decode(errors="ignore")
