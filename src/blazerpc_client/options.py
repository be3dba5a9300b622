"""What applies to a client, and to its calls, besides their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Protocol, TypedDict

from google.protobuf.message import Message

from blazerpc_client.backoff import Backoff
from blazerpc_client.credentials import Credentials
from blazerpc_client.errors import InvalidArgument
from blazerpc_client.metadata import check_metadata, redacted
from blazerpc_client.retry import Retry
from blazerpc_client.tls import TLS

Metadata = Mapping[str, str | bytes]

# A grpc-timeout has eight digits at most, and seconds are the largest unit in use here.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
_MAX_TIMEOUT: Final = 99_999_999


class Rpc(Protocol):
    """What is called."""

    @property
    def path(self) -> str:
        """``/package.Service/Method``."""

    @property
    def idempotent(self) -> bool:
        """Whether a call that may have run can be made again."""

    @property
    def request_class(self) -> type[Message]:
        """The class of the requests."""

    @property
    def response_class(self) -> type[Message]:
        """The class of the answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """What applies to a call besides its arguments.

    Attributes:
        timeout: seconds the call may take, up to three years; None sets no deadline.
        metadata: sent with the call; a value is bytes when its key ends in ``-bin``, else str.
        wait_for_ready: whether the call waits for a server that cannot be reached, until its time
            is over; else it fails at once.

    Raises:
        InvalidArgument: for a timeout or metadata that gRPC cannot carry.
    """

    timeout: float | None = None
    metadata: Metadata = field(default_factory=dict)
    wait_for_ready: bool = False

    def __post_init__(self) -> None:
        timeout: object = self.timeout
        if timeout is not None and not isinstance(timeout, int | float):
            raise InvalidArgument(f"timeout: {timeout!r} is no number", field="timeout")
        if timeout is not None and not 0 <= timeout <= _MAX_TIMEOUT:
            raise InvalidArgument(f"timeout: {timeout} is out of range", field="timeout")
        check_kinds(("wait_for_ready", self.wait_for_ready, bool, "True or False"))
        try:
            check_metadata(self.metadata)
        except ValueError as error:
            raise InvalidArgument(f"metadata: {error}", field="metadata") from None

    def __repr__(self) -> str:
        waits = ", wait_for_ready=True" if self.wait_for_ready else ""
        return f"CallOptions(timeout={self.timeout!r}, metadata={redacted(self.metadata)}{waits})"


class CallObserver(Protocol):
    """Surrounds every call of a channel."""

    def call(
        self, path: str, target: str, options: CallOptions
    ) -> AbstractContextManager[CallOptions]:
        """Surround a call, which fails with an ``RpcError``; give the options it is made with."""


class ChannelOptions(TypedDict, total=False):
    """How a client reaches its servers; as the arguments of ``Channel``."""

    backoff: Backoff
    health: bool | str
    retry: Retry
    tls: TLS
    credentials: Credentials | None
    allow_insecure_credentials: bool


def check_kinds(*options: tuple[str, object, type | tuple[type, ...], str]) -> None:
    """Check what not every caller has a type checker for."""
    for name, value, kinds, wanted in options:
        if not isinstance(value, kinds):
            raise InvalidArgument(f"{name}: {value!r} is not {wanted}", field=name)
