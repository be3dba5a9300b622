"""What a model can have besides its request: the call's context, and dependencies.

    def database(ctx: Context) -> Database:
        return ctx.app_state.database

    @app.model("price")
    def price(item: str, ctx: Context, db: Database = Depends(database)) -> float: ...

Neither is on the wire.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final, TypeVar, overload

from grpclib.metadata import Deadline
from grpclib.protocol import Peer

from blazerpc_client.metadata import check_metadata, redacted

T = TypeVar("T")

#: Who makes the call that is served in this context, when somebody has found out.
current_principal: Final[ContextVar[str | None]] = ContextVar("current_principal", default=None)


class AppState(SimpleNamespace):
    """What the calls of an app share: attributes, set by its lifespan or by anybody."""


@dataclass(eq=False, kw_only=True)
class Context:
    """One call, for the model or the dependency that takes it.

    Attributes:
        metadata: that the client sent; of ``-bin`` keys the values are bytes.
        peer: the client's connection: ``peer.addr()``, ``peer.cert()``.
        method: path of the rpc, ``/blazerpc.InferenceService/PredictSentiment``.
        deadline: when the client gives up, None when it has not said.
        app_state: ``app.state``.
        principal: who the client is, as ``AuthMiddleware`` found out; None when nobody did.
    """

    metadata: Mapping[str, str | bytes]
    peer: Peer
    method: str
    deadline: Deadline | None
    app_state: AppState
    principal: str | None = None
    _trailing: dict[str, str | bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Context(method={self.method!r}, metadata={redacted(self.metadata)})"

    @property
    def time_remaining(self) -> float | None:
        """Seconds until the deadline, None when there is none."""
        return None if self.deadline is None else self.deadline.time_remaining()

    @property
    def trailing_metadata(self) -> Mapping[str, str | bytes]:
        """What ``set_trailing_metadata`` has set."""
        return self._trailing

    def set_trailing_metadata(self, key: str, value: str | bytes) -> None:
        """Send ``value`` to the client when the call ends, whatever its status.

        Args:
            key: lower case; one that ends in ``-bin`` has bytes, any other a str.
            value: replaces what was set for the key before.

        Raises:
            ValueError: for a key or a value that headers cannot carry, or that gRPC uses itself.
        """
        _check_metadata(key, value)
        self._trailing[key] = value


def _check_metadata(key: str, value: str | bytes) -> None:
    if key.startswith("grpc-"):
        raise ValueError(f"{key!r}: gRPC keeps keys that begin with grpc- to itself")
    check_metadata({key: value})


@dataclass(frozen=True, eq=False)
class Dependency:
    """What ``Depends`` is at run time: the function that makes the value."""

    fn: Callable[..., object]


if TYPE_CHECKING:

    @overload
    def Depends(fn: Callable[[Context], AsyncIterator[T]]) -> T: ...
    @overload
    def Depends(fn: Callable[[Context], Awaitable[T]]) -> T: ...
    @overload
    def Depends(fn: Callable[[Context], Iterator[T]]) -> T: ...
    @overload
    def Depends(fn: Callable[[], AsyncIterator[T]]) -> T: ...
    @overload
    def Depends(fn: Callable[[], Awaitable[T]]) -> T: ...
    @overload
    def Depends(fn: Callable[[], Iterator[T]]) -> T: ...
    @overload
    def Depends(fn: Callable[[Context], T]) -> T: ...
    @overload
    def Depends(fn: Callable[[], T]) -> T: ...


def Depends(fn: Callable[..., object]) -> object:  # noqa: N802 - its users write it so
    """Return a default that stands for what ``fn`` makes for each call.

    Args:
        fn: takes a ``Context``, or nothing. It may be a coroutine function; a generator function
            of either kind yields the value, and goes on when the call has ended.

    To a type checker the result is of the type that ``fn`` makes.
    """
    return Dependency(fn)
