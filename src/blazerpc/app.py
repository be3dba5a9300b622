"""BlazeApp: the entry point."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, cast

from blazerpc.codegen.lock import SchemaLock
from blazerpc.codegen.servicer import MAX_CONCURRENT_REQUESTS, InferenceServicer
from blazerpc.config import (
    ExecutionChanges,
    ExecutionOptions,
    RayEngine,
    Resources,
    ServeOptions,
    check_max_concurrent_requests,
)
from blazerpc.context import AppState
from blazerpc.exceptions import ConfigurationError, StartupError, ValidationError
from blazerpc.oip.protocol import SCHEMA as OIP_SCHEMA
from blazerpc.oip.service import OpenInferenceService
from blazerpc.runtime.engine import Engine, LocalEngine
from blazerpc.runtime.executor import described, is_ours
from blazerpc.runtime.model import stem
from blazerpc.runtime.registry import ModelRegistry, naming
from blazerpc.server.grpc import GRPCServer
from blazerpc.server.health import build_health_service, model_names
from blazerpc.server.middleware import LoggingMiddleware, MetricsMiddleware, Middleware
from blazerpc.server.reflection import build_reflection_service
from blazerpc.tls import ServerTLS
from blazerpc_client.schema import Schema
from blazerpc_client.transport.choice import Http

if TYPE_CHECKING:
    from grpclib._typing import IServable

    from blazerpc.rest.server import RestServer
    from blazerpc.server.listener import Listener

F = TypeVar("F", bound=Callable[..., object])


class BlazeApp:
    """Models, and the server that offers them.

    Args:
        name: of the app, for people.
        enable_batching: whether models that can serve many requests in one call do.
        max_batch_size: rows in a batch, at most.
        batch_timeout_ms: milliseconds that a batch waits after its first request, at most.
        middleware: sees every call, the first of them first.
        max_queue_size: requests that wait for one model, at most; others are refused.
        max_concurrency: calls of one model's code at one time; see ``ExecutionOptions``.
        max_concurrent_requests: calls of all models at one time, at most; others are refused.
        lifespan: gets the app; entered before the models are built, left after they are closed. A
            mapping that it gives becomes attributes of ``state``.

    The options from ``enable_batching`` to ``max_concurrency`` are those of every model that says
    nothing else.

    Attributes:
        state: what the calls share.

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
        *,
        max_queue_size: int = 1000,
        max_concurrency: int | None = None,
        max_concurrent_requests: int = MAX_CONCURRENT_REQUESTS,
        lifespan: Callable[[BlazeApp], AbstractAsyncContextManager[Mapping[str, object] | None]]
        | None = None,
    ) -> None:
        self.name = name
        self.registry: ModelRegistry = ModelRegistry()
        self.state: AppState = AppState()
        self.options: ExecutionOptions = ExecutionOptions(
            enable_batching=enable_batching,
            max_batch_size=max_batch_size,
            batch_timeout_ms=batch_timeout_ms,
            max_queue_size=max_queue_size,
            max_concurrency=max_concurrency,
        )
        self.middleware: list[Middleware] = list(middleware or ())
        for each in self.middleware:
            if not isinstance(cast(object, each), Middleware):
                raise ConfigurationError(f"middleware: {each!r} is no Middleware")
        self._max_concurrent_requests = check_max_concurrent_requests(max_concurrent_requests)
        self._lifespan = lifespan

    def model(
        self,
        name: str,
        version: str = "1",
        streaming: bool = False,
        *,
        batch: bool = False,
        isolate_failures: bool = False,
        enable_batching: bool | None = None,
        max_batch_size: int | None = None,
        batch_timeout_ms: float | None = None,
        max_queue_size: int | None = None,
        max_concurrency: int | None = None,
        resources: Resources | None = None,
        idempotent: bool = False,
    ) -> Callable[[F], F]:
        """Register the decorated function or class as a model; it stays what it is.

        An instance of a class is built when the server starts; its ``__call__`` is the model, and
        its methods ``warmup`` and ``close`` are called, if there are such, before the first call
        and after the last.

        Args:
            name: letters, digits, ``-`` and ``_``, a letter first.
            version: letters, digits and ``_``.
            streaming: a generator function annotated with the type of one item is a stream; one
                annotated ``Iterator[...]`` or ``AsyncIterator[...]`` is without being told.
            batch: the function takes a ``list[T]`` for each parameter and returns a ``list[R]``; a
                request has one ``T`` and gets one ``R``. It may return ``list[R | Exception]``: an
                exception fails the request of its index.
            isolate_failures: when a batch fails, run its requests again, each alone.
            enable_batching: this and what follows it replace the app's options; None keeps them.
            max_batch_size: likewise.
            batch_timeout_ms: likewise.
            max_queue_size: likewise.
            max_concurrency: likewise.
            resources: that the model needs; None is one core, and one replica.
            idempotent: whether a call that may have run can be made again: clients do so when it
                was UNAVAILABLE.

        Raises:
            ValidationError: naming the model, the parameter, and what would do.
            ConfigurationError: for an option out of its bounds.
        """
        if callable(name):
            raise ValidationError('a model needs a name: @app.model("name")')
        given: dict[str, Any] = {
            "enable_batching": enable_batching,
            "max_batch_size": max_batch_size,
            "batch_timeout_ms": batch_timeout_ms,
            "max_queue_size": max_queue_size,
            "max_concurrency": max_concurrency,
        }
        resources = Resources() if resources is None else resources
        if not isinstance(cast(object, resources), Resources):
            raise ConfigurationError(f"resources: {resources!r} is no Resources")
        if resources.max_ongoing is not None:
            if max_concurrency is not None:
                raise ConfigurationError(
                    "max_concurrency and max_ongoing of the resources say the same; leave one out"
                )
            given["max_concurrency"] = resources.max_ongoing
        changes = {option: value for option, value in given.items() if value is not None}
        options = replace(self.options, **changes)

        def register(func: F) -> F:
            self.registry.register(
                name,
                version,
                func,
                streaming,
                batch=batch,
                isolate_failures=isolate_failures,
                options=options,
                resources=resources,
                idempotent=idempotent,
            )
            return func

        return register

    def add_onnx(
        self,
        name: str,
        path: str | Path,
        version: str = "1",
        *,
        outputs: Sequence[str] | None = None,
        providers: Sequence[str] | None = None,
        **options: Unpack[ExecutionChanges],
    ) -> None:
        """Register a model of ONNX; its types are those of the graph.

        Needs the extra ``onnx``. An axis without a size is a symbolic dimension; when all inputs
        and the one output have it in front, the model is batched.

        Args:
            name: as for ``model``, and ``version`` likewise.
            path: of the ``.onnx`` file.
            version: of the model.
            outputs: which of the graph's outputs are the result, by their names; None is all.
            providers: ONNX Runtime's execution providers, the preferred one first; None is the CPU.
            options: as for ``model``.

        Raises:
            ValidationError: when the graph has a type that cannot be served.
            ConfigurationError: when the file cannot be loaded, or for an option out of its bounds.
            ModuleNotFoundError: without ONNX Runtime.
        """
        from blazerpc.contrib.onnx import ONNXModel

        graph = ONNXModel(path, providers)
        with naming(name):
            function = graph.as_function(f"{stem(name, version)}Outputs", outputs)
        self.model(name, version, **options)(function)

    def add_sklearn(
        self,
        name: str,
        estimator: object,
        version: str = "1",
        *,
        method: str | None = None,
        **options: Unpack[ExecutionChanges],
    ) -> None:
        """Register a fitted estimator of scikit-learn, as a model of rows.

        Needs the extra ``sklearn``. Its parameter is ``x``: float64, a column for each feature.

        Args:
            name: as for ``model``, and ``version`` likewise.
            estimator: anything with the interface of scikit-learn, a pipeline too.
            version: of the model.
            method: of the estimator, whose result is the model's; None is the first that it has of
                ``predict_proba``, ``predict`` and ``transform``.
            options: as for ``model``.

        Raises:
            ValidationError: when it is not fitted, or its result is no array with a row for each.
            ConfigurationError: for an option out of its bounds.
            ModuleNotFoundError: without scikit-learn.
        """
        from blazerpc.contrib.sklearn import SklearnModel

        with naming(name):
            function = SklearnModel(estimator, method).as_function()
        self.model(name, version, **options)(function)

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 50051,
        *,
        http: Http | None = None,
        engine: RayEngine | None = None,
        ssl: ServerTLS | SSLContext | None = None,
        reflection: bool = True,
    ) -> None:
        """Serve all models, with health and reflection, until SIGINT or SIGTERM.

        Args:
            host: address to listen on; ``unix:PATH`` for a UNIX socket, which needs no port.
            port: likewise; 0 lets the system choose.
            http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's.
            ssl: how connections are encrypted; None for plaintext.
            reflection: whether clients may read the schema.
            engine: runs the models; None runs them in this process.

        Raises:
            ConfigurationError: for an app without models, an address that cannot be had,
                certificates that cannot be used, or an engine that is not installed.
            StartupError: when the lifespan or the construction of a model fails.
        """
        options = ServeOptions(
            host=host, port=port, http=http, ssl=ssl, reflection=reflection, engine=engine
        )
        await self.server(options).start(options.host, options.port)

    def server(self, options: ServeOptions) -> GRPCServer:
        """Return a server of all models, with health and reflection, that has not started.

        Raises:
            ConfigurationError: for an app without models, a lock that does not fit, certificates
                that cannot be used, or workers.
            OSError: when the lock cannot be read.
        """
        if not self.registry.list_models():
            raise ConfigurationError(f"app {self.name!r} has no models; register one to serve it")
        if options.workers > 1:
            raise ConfigurationError("a server is one process; for more, run blaze serve --workers")
        middleware = self._with_observers(options)
        engine = self._engine(options)
        servicer = InferenceServicer(
            self.registry,
            None if options.lock is None else SchemaLock.read(options.lock),
            state=self.state,
            lifespan=self._entered,
            max_concurrent_requests=self._max_concurrent_requests,
            observe=[each.observe_model for each in middleware],
            engine=engine,
        )
        names = model_names(self.registry.list_models())
        services: list[IServable] = [servicer]
        schema = servicer.schema
        if options.oip:
            services.append(OpenInferenceService(servicer, self.name))
            schema = Schema([*schema.files, *OIP_SCHEMA.files])
        health = build_health_service(services, names, serving=False)
        engine.when_ready(health.set_ready)
        handlers = [*services, health]
        if options.reflection:
            handlers = build_reflection_service(handlers, schema)
        face = None if options.http_port is None else self._rest(options, servicer.schema)
        return GRPCServer(
            handlers,
            face=face,
            middleware=middleware,
            grace_period=options.grace_period,
            http=options.http,
            limits=options.limits,
            ssl=options.ssl,
            compression=options.compression,
        )

    def _rest(self, options: ServeOptions, schema: Schema) -> RestServer:
        """Return the HTTP face.

        Raises:
            ConfigurationError: without the extra.
        """
        try:
            from blazerpc.rest.routes import Routes
            from blazerpc.rest.server import RestServer
        except ModuleNotFoundError as error:
            package = (error.name or "a package").partition(".")[0]
            text = f"HTTP needs {package}; pip install 'blazerpc[http]'"
            raise ConfigurationError(text) from None
        models = self.registry.list_models()

        def routes(listener: Listener) -> Routes:
            return Routes(
                listener,
                models,
                schema,
                title=self.name,
                oip=options.oip,
                reflection=options.reflection,
                limits=options.limits,
            )

        assert options.http_port is not None
        return RestServer(routes, options.http_port, options.limits)

    def _engine(self, options: ServeOptions) -> Engine:
        """Return what runs the models.

        Raises:
            ConfigurationError: when its extra is not installed.
        """
        if options.engine is None:
            return LocalEngine()
        try:
            from blazerpc.engines.ray import RayServe
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"Ray Serve is not installed ({error}); pip install 'blazerpc[ray]'"
            ) from error
        return RayServe(options.engine, self.name, self.registry.list_models())

    def _with_observers(self, options: ServeOptions) -> list[Middleware]:
        """Return the middleware, with what the options ask for and it lacks."""
        observers: dict[type[Middleware], bool] = {
            LoggingMiddleware: options.access_log,
            MetricsMiddleware: options.metrics_port is not None,
        }
        # First, to see what the others refuse.
        added = [
            kind()
            for kind, wanted in observers.items()
            if wanted and not any(isinstance(each, kind) for each in self.middleware)
        ]
        return [*added, *self.middleware]

    @asynccontextmanager
    async def _entered(self) -> AsyncIterator[None]:
        """Be in the lifespan.

        Raises:
            StartupError: when entering it fails.
        """
        if self._lifespan is None:
            yield
            return
        try:
            manager = self._lifespan(self)
            given: object = await manager.__aenter__()
        except BaseException as error:
            if is_ours(error):
                raise
            raise StartupError(f"the lifespan failed: {described(error)}") from error
        try:
            if not isinstance(given, Mapping | None):
                kind = type(given).__name__
                raise StartupError(f"the lifespan gave {kind}; it may give a mapping, or nothing")
            vars(self.state).update(given or {})
            yield
        finally:
            await manager.__aexit__(None, None, None)
