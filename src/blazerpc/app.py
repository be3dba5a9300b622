"""BlazeApp: the entry point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from blazerpc.codegen.lock import SchemaLock
from blazerpc.codegen.servicer import InferenceServicer
from blazerpc.config import BatchOptions, ServeOptions
from blazerpc.exceptions import ConfigurationError, ValidationError
from blazerpc.runtime.registry import ModelRegistry
from blazerpc.server.grpc import GRPCServer
from blazerpc.server.health import build_health_service
from blazerpc.server.middleware import Middleware
from blazerpc.server.reflection import build_reflection_service
from blazerpc_client.transport.choice import Http

F = TypeVar("F", bound=Callable[..., object])


class BlazeApp:
    """Models, and the server that offers them.

    Args:
        name: of the app, for people.
        enable_batching: whether models that can take many requests in one call do.
        max_batch_size: requests in a batch, at most.
        batch_timeout_ms: milliseconds that the first request of a batch waits for others.
        middleware: sees every call, the first of them first.

    Raises:
        ConfigurationError: for an option out of its bounds.
    """

    def __init__(
        self,
        name: str = "blazerpc",
        enable_batching: bool = True,
        max_batch_size: int = 32,
        batch_timeout_ms: float = 10.0,
        middleware: Sequence[Middleware] | None = None,
    ) -> None:
        self.name = name
        self.registry: ModelRegistry = ModelRegistry()
        self.batching: BatchOptions = BatchOptions(
            enabled=enable_batching, max_size=max_batch_size, timeout_ms=batch_timeout_ms
        )
        self.middleware: list[Middleware] = list(middleware or ())

    def model(self, name: str, version: str = "1", streaming: bool = False) -> Callable[[F], F]:
        """Register the decorated function as a model; the function stays what it is.

        Args:
            name: letters, digits, ``-`` and ``_``, a letter first.
            version: letters, digits and ``_``.
            streaming: a generator function annotated with the type of one item is a stream; one
                annotated ``Iterator[...]`` or ``AsyncIterator[...]`` is without being told.

        Raises:
            ValidationError: naming the model, the parameter, and what would do.
        """
        if callable(name):
            raise ValidationError('a model needs a name: @app.model("name")')

        def register(func: F) -> F:
            self.registry.register(name, version, func, streaming)
            return func

        return register

    async def serve(
        self, host: str = "127.0.0.1", port: int = 50051, *, http: Http | None = None
    ) -> None:
        """Serve all models, with health and reflection, until SIGINT or SIGTERM.

        Args:
            host: address to listen on.
            port: likewise; 0 lets the system choose.
            http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's.

        Raises:
            ConfigurationError: for an app without models, or an address that cannot be had.
        """
        options = ServeOptions(host=host, port=port, http=http)
        await self.server(options).start(options.host, options.port)

    def server(self, options: ServeOptions) -> GRPCServer:
        """Return a server of all models, with health and reflection, that has not started.

        Raises:
            ConfigurationError: for an app without models, or a lock that does not fit.
            OSError: when the lock cannot be read.
        """
        if not self.registry.list_models():
            raise ConfigurationError(f"app {self.name!r} has no models; register one to serve it")
        lock = None if options.lock is None else SchemaLock.read(options.lock)
        servicer = InferenceServicer(self.registry, lock)
        health = build_health_service([servicer])
        handlers = build_reflection_service([servicer, health], servicer.schema)
        return GRPCServer(
            handlers,
            middleware=self.middleware,
            grace_period=options.grace_period,
            http=options.http,
            limits=options.limits,
        )
