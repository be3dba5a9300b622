"""Client exceptions: one class for each gRPC status, and the one place that raises them.

    RpcError
    ├── Cancelled            ├── ResourceExhausted     ├── Internal
    ├── Unknown              ├── FailedPrecondition    ├── Unavailable
    ├── InvalidArgument      ├── Aborted               ├── DataLoss
    ├── DeadlineExceeded     ├── OutOfRange            └── Unauthenticated
    ├── NotFound             ├── Unimplemented
    ├── AlreadyExists        └── PermissionDenied

Statuses: https://github.com/grpc/grpc/blob/master/doc/statuscodes.md
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import ClassVar, Final

import h2.exceptions
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from blazerpc_client.metadata import ReceivedMetadata
from blazerpc_client.wire.errors import WireError


class RpcError(Exception):
    """A call that failed.

    Attributes:
        status: the gRPC status.
        message: what the server, or this client, says of it.
        details: the ``google.rpc`` messages that came with it; empty when there were none.
        trailing_metadata: that came with the status; empty when no server answered.
    """

    status: ClassVar[Status] = Status.UNKNOWN

    def __init__(self, message: str, details: Sequence[Message] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.details: tuple[Message, ...] = tuple(details)
        self.trailing_metadata: ReceivedMetadata = ReceivedMetadata()


class Cancelled(RpcError):
    """The call was cancelled, usually by its caller."""

    status = Status.CANCELLED


class Unknown(RpcError):
    """The server failed without saying how."""

    status = Status.UNKNOWN


class InvalidArgument(RpcError):
    """An argument is not what the schema allows: refused here before sending, or by the server.

    Attributes:
        field: path of the offending argument (``x``, ``scores[3]``), None when it is not known.
    """

    status = Status.INVALID_ARGUMENT

    def __init__(
        self, message: str, details: Sequence[Message] = (), *, field: str | None = None
    ) -> None:
        super().__init__(message, details)
        self.field: str | None = field if field is not None else _violated_field(details)


class DeadlineExceeded(RpcError):
    """The call's time ran out."""

    status = Status.DEADLINE_EXCEEDED


class NotFound(RpcError):
    """There is no such model or entity."""

    status = Status.NOT_FOUND


class AlreadyExists(RpcError):
    """The entity exists already."""

    status = Status.ALREADY_EXISTS


class PermissionDenied(RpcError):
    """The caller may not do this."""

    status = Status.PERMISSION_DENIED


class ResourceExhausted(RpcError):
    """A queue is full, a message too large, or a quota used up."""

    status = Status.RESOURCE_EXHAUSTED


class FailedPrecondition(RpcError):
    """The server is not in a state for this call."""

    status = Status.FAILED_PRECONDITION


class Aborted(RpcError):
    """The operation was given up, for a conflict for example."""

    status = Status.ABORTED


class OutOfRange(RpcError):
    """The operation went past the valid range."""

    status = Status.OUT_OF_RANGE


class Unimplemented(RpcError):
    """The server has no such method."""

    status = Status.UNIMPLEMENTED


class Internal(RpcError):
    """The model failed; the message holds the id under which the server logged why."""

    status = Status.INTERNAL


class Unavailable(RpcError):
    """The server cannot be reached, or is shutting down."""

    status = Status.UNAVAILABLE


class DataLoss(RpcError):
    """Data was lost or corrupted."""

    status = Status.DATA_LOSS


class Unauthenticated(RpcError):
    """The call carries no valid credentials."""

    status = Status.UNAUTHENTICATED


ERROR_OF_STATUS: dict[Status, type[RpcError]] = {
    error.status: error for error in RpcError.__subclasses__()
}


class AnsweredError(GRPCError):
    """grpclib's error, for a status that a server sent.

    Attributes:
        trailing_metadata: that came with it.
    """

    def __init__(
        self, status: Status, message: str | None, details: object, metadata: ReceivedMetadata
    ) -> None:
        super().__init__(status, message, details)
        self.trailing_metadata = metadata


def error_from(error: GRPCError) -> RpcError:
    """Return the client exception for what grpclib received or decided."""
    # grpclib gives details it cannot parse as objects of its own; only messages are worth keeping.
    details = [detail for detail in error.details or () if isinstance(detail, Message)]
    failure = ERROR_OF_STATUS.get(error.status, Unknown)
    raised = failure(error.message or error.status.name, details)
    if isinstance(error, AnsweredError):
        raised.trailing_metadata = error.trailing_metadata
    return raised


class _Translation(AbstractContextManager[None]):
    """Raises a failure as another one.

    A class, as every call has three of these, and ``contextmanager`` makes a generator for each.
    """

    def __init__(self, translate: Callable[[BaseException], None]) -> None:
        self._translate = translate

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc_value is not None:
            self._translate(exc_value)


def translated(target: str) -> AbstractContextManager[None]:
    """Raise every failure of a call to ``target`` as an ``RpcError``; may be entered again."""
    return _Translation(partial(_raise_translated, target))


def _raise_translated(target: str, failure: BaseException) -> None:
    match failure:
        case GRPCError():
            raise error_from(failure) from None
        case TimeoutError():  # before OSError, whose subclass it is
            if failure.errno is not None:  # the system's, of a connection that nobody answered
                raise Unavailable(f"cannot reach {target}: {failure.strerror}") from failure
            raise DeadlineExceeded("deadline exceeded") from None
        case StreamTerminatedError():
            raise Unavailable(f"{target}: {failure}") from failure
        case OSError():
            raise Unavailable(f"cannot reach {target}: {failure.strerror or failure}") from failure
        case h2.exceptions.H2Error():
            raise Unavailable(f"{target}: {str(failure) or type(failure).__name__}") from failure
        case (
            ProtocolError()
            | DecodeError()
            | binascii.Error()
            | AssertionError()  # of what a peer can break, as the length that a message announces
            | NotImplementedError()  # of a compressed message
        ):
            raise Internal(f"{target} broke the protocol: {failure}") from failure


def arguments_checked() -> AbstractContextManager[None]:
    """Raise a ``WireError`` about the arguments of a call as ``InvalidArgument``."""
    return _ARGUMENTS


def response_checked() -> AbstractContextManager[None]:
    """Raise a ``WireError`` about a response as ``Internal``: the server broke its own schema."""
    return _RESPONSE


def _raise_argument(failure: BaseException) -> None:
    if isinstance(failure, WireError):
        raise InvalidArgument(str(failure), field=failure.field) from None


def _raise_response(failure: BaseException) -> None:
    if isinstance(failure, WireError):
        raise Internal(f"the response does not match the schema: {failure}") from None


_ARGUMENTS: Final = _Translation(_raise_argument)
_RESPONSE: Final = _Translation(_raise_response)


def _violated_field(details: Sequence[Message]) -> str | None:
    for detail in details:
        if isinstance(detail, BadRequest):
            for violation in detail.field_violations:
                return str(violation.field)
    return None
