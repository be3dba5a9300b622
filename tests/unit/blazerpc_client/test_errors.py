from __future__ import annotations

import asyncio
import binascii
import errno
import inspect
import socket
import types

import grpclib.exceptions
import h2.exceptions
import pytest
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

import blazerpc_client
from blazerpc_client import (
    Cancelled,
    DeadlineExceeded,
    Internal,
    InvalidArgument,
    NotFound,
    RpcError,
    Unavailable,
    Unknown,
)
from blazerpc_client.errors import (
    ERROR_OF_STATUS,
    arguments_checked,
    error_from,
    response_checked,
    translated,
)
from blazerpc_client.wire.errors import WireError

FAILURES = [status for status in Status if status is not Status.OK]
TARGET = "example:50051"


def classes_of(module: types.ModuleType) -> set[type[BaseException]]:
    return {
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, BaseException)
        and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("status", FAILURES, ids=lambda status: status.name)
def test_each_status_has_a_class_of_its_name(status: Status) -> None:
    error = ERROR_OF_STATUS[status]
    assert error.__name__ == status.name.title().replace("_", "")
    assert error.status is status
    assert issubclass(error, RpcError)
    assert getattr(blazerpc_client, error.__name__) is error


def test_there_is_a_class_for_each_of_the_sixteen_and_for_nothing_else() -> None:
    assert len(FAILURES) == 16
    assert set(ERROR_OF_STATUS) == set(FAILURES)
    assert len(set(ERROR_OF_STATUS.values())) == 16


@pytest.mark.parametrize("status", FAILURES, ids=lambda status: status.name)
def test_a_status_is_raised_as_its_class(status: Status) -> None:
    info = ErrorInfo(reason="why")
    with pytest.raises(RpcError, match=r"^what happened$") as error, translated(TARGET):
        raise GRPCError(status, "what happened", [info])
    assert type(error.value) is ERROR_OF_STATUS[status]
    assert error.value.status is status
    assert error.value.message == "what happened"
    assert error.value.details == (info,)


@pytest.mark.parametrize("message", [None, ""])
def test_a_status_without_a_message_is_told_by_its_name(message: str | None) -> None:
    error = error_from(GRPCError(Status.NOT_FOUND, message))
    assert isinstance(error, NotFound)
    assert str(error) == "NOT_FOUND"
    assert error.details == ()


def test_details_that_are_no_messages_are_left_out() -> None:
    known = BadRequest()
    error = error_from(GRPCError(Status.ABORTED, "", [object(), known]))
    assert error.details == (known,)


def test_a_violated_field_is_read_from_the_details() -> None:
    details = BadRequest(field_violations=[{"field": "x"}, {"field": "y"}])
    error = error_from(GRPCError(Status.INVALID_ARGUMENT, "no", [ErrorInfo(), details]))
    assert isinstance(error, InvalidArgument)
    assert error.field == "x"


@pytest.mark.parametrize(
    "details", [[], [ErrorInfo()], [BadRequest()], [BadRequest(field_violations=[{"field": ""}])]]
)
def test_without_a_violated_field_there_is_none(details: list[BadRequest | ErrorInfo]) -> None:
    assert not InvalidArgument("no", details).field


def test_a_field_that_is_given_counts_more_than_the_details() -> None:
    details = [BadRequest(field_violations=[{"field": "x"}])]
    assert InvalidArgument("no", details, field="y").field == "y"


# Every exception that grpclib defines. One that it adds has to be decided on in `translated`,
# and added here.
GRPCLIB: dict[type[BaseException], tuple[BaseException, type[RpcError]]] = {
    GRPCError: (GRPCError(Status.CANCELLED, "gone"), Cancelled),
    ProtocolError: (ProtocolError("twice"), Internal),
    StreamTerminatedError: (StreamTerminatedError("reset"), Unavailable),
}


def test_every_exception_of_grpclib_is_translated() -> None:
    assert set(GRPCLIB) == classes_of(grpclib.exceptions)
    for raised, expected in GRPCLIB.values():
        with pytest.raises(expected), translated(TARGET):
            raise raised


def made(kind: type[BaseException]) -> BaseException:
    own = kind.__init__ is not BaseException.__init__ and inspect.isfunction(kind.__init__)
    parameters = list(inspect.signature(kind.__init__).parameters)[1:] if own else []
    return kind(*(1 for _ in parameters))


def test_every_exception_of_h2_is_translated() -> None:
    classes = classes_of(h2.exceptions)
    assert len(classes) > 10
    for kind in classes:
        with pytest.raises(Unavailable, match=TARGET), translated(TARGET):
            raise made(kind)


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (TimeoutError(), DeadlineExceeded, "^deadline exceeded$"),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), Unavailable, f"^cannot reach {TARGET}: timed"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Unavailable, f"{TARGET}: refused"),
        (OSError("several"), Unavailable, f"^cannot reach {TARGET}: several$"),
        (socket.gaierror(-2, "no such name"), Unavailable, f"{TARGET}: no such name"),
        (ConnectionResetError(), Unavailable, f"^cannot reach {TARGET}"),
        (DecodeError("no message"), Internal, f"^{TARGET} broke the protocol: no message$"),
        (binascii.Error("padding"), Internal, f"^{TARGET} broke the protocol: padding$"),
        (AssertionError("5 != 3"), Internal, f"^{TARGET} broke the protocol: 5 != 3$"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_other_failures_of_a_call_are_translated(
    raised: BaseException, expected: type[RpcError], message: str
) -> None:
    with pytest.raises(expected, match=message), translated(TARGET):
        raise raised


@pytest.mark.parametrize(
    "raised", [KeyError("mine"), asyncio.CancelledError(), KeyboardInterrupt(), Unknown("raised")]
)
def test_what_is_no_failure_of_a_call_passes(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as error, translated(TARGET):
        raise raised
    assert error.value is raised


def test_a_wrong_argument_is_refused_with_its_field() -> None:
    with pytest.raises(InvalidArgument, match=r"^x\[2\]: no$") as error, arguments_checked():
        raise WireError("no", field="[2]").at("x")
    assert error.value.field == "x[2]"
    assert error.value.__suppress_context__


def test_a_wrong_response_is_the_fault_of_the_server() -> None:
    with (
        pytest.raises(Internal, match=r"^the response does not match the schema: result: no$"),
        response_checked(),
    ):
        raise WireError("no", field="result")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (WireError("no"), "no"),
        (WireError("no", field="x"), "x: no"),
        (WireError("no").at("x"), "x: no"),
    ],
)
def test_a_wire_error_says_where(error: WireError, text: str) -> None:
    assert str(error) == text
    assert error.message == "no"
