"""Options, checked where they are made; the command line and the Python API make the same."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from ssl import SSLContext
from typing import Final, TypedDict

from blazerpc.exceptions import ConfigurationError
from blazerpc.tls import ServerTLS
from blazerpc_client.errors import InvalidArgument
from blazerpc_client.targets import unix_path
from blazerpc_client.transport.choice import Http, chosen_http
from blazerpc_client.transport.limits import DEFAULT, Limits
from blazerpc_client.transport.messages import Compression

#: The least part of a core or a GPU, of those that Ray counts.
_LEAST: Final = 0.0001


class LogLevel(StrEnum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Lines for people, or a JSON object a line."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionOptions:
    """How the calls of a model are run: an app's options, or those of one of its models.

    Attributes:
        enable_batching: whether a model that can serve many requests in one call does.
        max_batch_size: rows in a batch (requests, of a ``batch=True`` model), at most. A request
            that has more rows runs alone.
        batch_timeout_ms: milliseconds that a batch waits for others after its first request, at
            most; it waits only while that can help.
        max_queue_size: requests that wait for their model, at most.
        max_concurrency: calls of the model's code at one time, at most. None is 1 for a batched
            model, the number of threads for a synchronous function, no bound for others.

    Raises:
        ConfigurationError: naming the option and its bound.
    """

    enable_batching: bool = True
    max_batch_size: int = 32
    batch_timeout_ms: float = 10.0
    max_queue_size: int = 1000
    max_concurrency: int | None = None

    def __post_init__(self) -> None:
        _check_type(self.enable_batching, "enable_batching", bool)
        _check_count(self.max_batch_size, "max_batch_size")
        _check_type(self.batch_timeout_ms, "batch_timeout_ms", int, float)
        holds = 0 <= self.batch_timeout_ms < 3.6e6
        _check(holds, "batch_timeout_ms", self.batch_timeout_ms, "0 to an hour")
        _check_count(self.max_queue_size, "max_queue_size", least=0)
        if self.max_concurrency is not None:
            _check_count(self.max_concurrency, "max_concurrency")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What a model needs, wherever it runs.

    In the server's own process only ``max_ongoing`` counts; an engine that places replicas goes by
    all of them.

    Attributes:
        cpus: cores of a replica; fractions share one.
        gpus: GPUs of a replica, a whole number, or a fraction below 1 to share one.
        replicas: how many there are, or the least and the most of them.
        max_ongoing: calls of the model's code at one time in a replica, which is the
            ``max_concurrency`` of ``ExecutionOptions``; None leaves it at that.

    Raises:
        ConfigurationError: naming the option and its bound.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    replicas: int | tuple[int, int] = 1
    max_ongoing: int | None = None

    def __post_init__(self) -> None:
        _check_type(self.cpus, "cpus", int, float)
        some = self.cpus == 0 or _LEAST <= self.cpus < math.inf
        _check(some, "cpus", self.cpus, f"0, or at least {_LEAST}")
        _check_type(self.gpus, "gpus", int, float)
        part = self.gpus == 0 or _LEAST <= self.gpus < 1
        whole = 1 <= self.gpus < math.inf and self.gpus == int(self.gpus)
        bound = f"a whole number, or a fraction below 1 and at least {_LEAST}"
        _check(part or whole, "gpus", self.gpus, bound)
        _check_type(self.replicas, "replicas", int, tuple)
        if isinstance(self.replicas, tuple):
            _check(len(self.replicas) == 2, "replicas", self.replicas, "(least, most)")
            for count in self.replicas:
                _check_count(count, "replicas")
        least, most = self.bounds
        _check(1 <= least <= most <= 10_000, "replicas", self.replicas, "1 to 10000, least first")
        if self.max_ongoing is not None:
            _check_count(self.max_ongoing, "max_ongoing")

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the most replicas."""
        if isinstance(self.replicas, tuple):
            return self.replicas
        return self.replicas, self.replicas


class ExecutionChanges(TypedDict, total=False):
    """The options of a model that says something else than its app; as in ``ExecutionOptions``."""

    isolate_failures: bool
    enable_batching: bool | None
    max_batch_size: int | None
    batch_timeout_ms: float | None
    max_queue_size: int | None
    max_concurrency: int | None
    resources: Resources | None
    idempotent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RayEngine:
    """Ray Serve runs the models, in replicas of their own; needs the extra ``ray``.

    The front doors of one release share one set of replicas. Another release has a set of its own,
    and the last front door of a release takes its set along.

    Attributes:
        address: ``HOST:PORT`` of a running Ray; None starts one on this machine, for this process.
        app: import string of the app, which replicas import; None sends them the functions,
            pickled.
        release: of the models' code; None tells releases apart by the sources of the modules that
            the app and its models are defined in, and by the models' options.
        start_timeout: seconds that all replicas have to start.
        upscale_delay: seconds of too many calls for each replica before there is another one.
        downscale_delay: seconds of too few before there is one less.

    Raises:
        ConfigurationError: naming the option and its bound.
    """

    address: str | None = None
    app: str | None = None
    release: str | None = None
    start_timeout: float = 300.0
    upscale_delay: float = 10.0
    downscale_delay: float = 300.0

    def __post_init__(self) -> None:
        if self.address is not None:
            host, _, port = self.address.rpartition(":")
            holds = bool(host) and "/" not in host and port.isdecimal() and 0 < int(port) < 1 << 16
            _check(holds, "address", self.address, "HOST:PORT of a Ray")
        if self.release is not None:
            holds = re.fullmatch(r"[A-Za-z0-9._-]{1,64}", self.release) is not None
            _check(holds, "release", self.release, "1 to 64 letters, digits, '.', '_' and '-'")
        for option in ("start_timeout", "upscale_delay", "downscale_delay"):
            value = getattr(self, option)
            _check_type(value, option, int, float)
            _check(0 < value < 86400, option, value, "above 0, and below a day")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What ``blaze serve`` logs, and how.

    Attributes:
        level: the least that is logged.
        format: of a line.
    """

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where an app is served, how it ends, and what is told of it meanwhile.

    Attributes:
        host: address to listen on; ``unix:PATH`` for a UNIX socket, which needs no port.
        port: likewise; 0 lets the system choose.
        grace_period: seconds that calls in flight have to finish after a stop.
        lock: file with the numbers on the wire, which ``blaze proto --lock`` keeps; None numbers
            fields in the order in which they are written.
        workers: processes that serve, which ``blaze serve`` starts.
        access_log: whether each call is a line in the log, without a ``LoggingMiddleware``, too.
        metrics_port: of the Prometheus endpoint that ``blaze serve`` opens, 0 to let the system
            choose; None for none. With it calls are counted without a ``MetricsMiddleware``, too.
        metrics_host: address of that endpoint; None for that of the server, or 127.0.0.1 when that
            is a UNIX socket.
        log: what ``blaze serve`` logs, and how.
        http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what clients may ask of BlazeRPC's HTTP/2.
        ssl: how connections are encrypted; None for plaintext. A context of your own is of one
            process, and gets ALPN ``h2``.
        reflection: whether clients may read the schema.
        compression: ``"gzip"`` compresses the messages of answers for clients that take it,
            where that makes them shorter; BlazeRPC's HTTP/2 only.
        oip: whether clients of the Open Inference Protocol can call the models, too.
        http_port: of HTTP with JSON, 0 to let the system choose; None for none. One process only;
            needs the extra ``http``.
        engine: runs the models; None runs them in the server's own process.

    Raises:
        ConfigurationError: naming the option and its bound.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    grace_period: float = 5.0
    lock: Path | None = None
    workers: int = 1
    access_log: bool = False
    metrics_port: int | None = None
    metrics_host: str | None = None
    log: LogOptions = field(default_factory=LogOptions)
    http: Http | None = None
    limits: Limits = DEFAULT
    ssl: ServerTLS | SSLContext | None = None
    reflection: bool = True
    compression: Compression | None = None
    oip: bool = True
    http_port: int | None = None
    engine: RayEngine | None = None

    def __post_init__(self) -> None:
        _check(bool(self.host), "host", self.host, "an address")
        try:
            unix_path(self.host)
        except InvalidArgument:
            raise ConfigurationError(f"host is {self.host!r}; a UNIX socket is unix:PATH") from None
        _check(0 <= self.port < 1 << 16, "port", self.port, "0 to 65535")
        _check(0 <= self.grace_period < 3600, "grace_period", self.grace_period, "0 to an hour")
        _check(1 <= self.workers <= 1024, "workers", self.workers, "1 to 1024")
        holds = self.metrics_port is None or 0 <= self.metrics_port < 1 << 16
        _check(holds, "metrics_port", self.metrics_port, "0 to 65535")
        _check(self.metrics_host != "", "metrics_host", self.metrics_host, "an address")
        if self.metrics_host is not None and self.metrics_port is None:
            raise ConfigurationError("metrics_host is that of metrics_port, which is not given")
        # Without a choice it is the environment's, when the server is made.
        check_http(self.http or "blaze", self.limits, self.compression)
        holds = self.http_port is None or 0 <= self.http_port < 1 << 16
        _check(holds, "http_port", self.http_port, "0 to 65535")
        holds = self.http_port is None or self.workers == 1
        _check(holds, "http_port", self.http_port, "left out with several workers")
        holds = self.http_port is None or (self.ssl is None and not self.host.startswith("unix:"))
        _check(holds, "http_port", self.http_port, "left out with TLS and with UNIX sockets")
        _check(self.compression in (None, "gzip"), "compression", self.compression, "'gzip'")
        if self.workers > 1 and self.engine is not None and self.engine.address is None:
            raise ConfigurationError(
                "several workers share the replicas of one Ray, which needs its address: "
                "--ray-address HOST:PORT"
            )

    @property
    def metrics_address(self) -> str:
        """The address of the Prometheus endpoint."""
        own = self.host if unix_path(self.host) is None else "127.0.0.1"
        return self.metrics_host or own


def listening_on(host: str, port: int) -> str:
    """Return an address to listen on as people read it, and clients take it."""
    return host if unix_path(host) is not None else f"{host}:{port}"


def check_http(http: Http | None, limits: Limits, compression: Compression | None) -> Http:
    """Return the HTTP/2 that is chosen, by the environment if not by ``http``.

    Raises:
        ConfigurationError: for one that there is not, or what it cannot do.
    """
    try:
        chosen = chosen_http(http)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if chosen == "h2" and compression is not None:
        raise ConfigurationError("grpclib's HTTP/2 has no compression; leave out http='h2'")
    if chosen == "h2" and limits != Limits(handshake_timeout=limits.handshake_timeout):
        raise ConfigurationError("grpclib's HTTP/2 has no such limits; leave out http='h2'")
    return chosen


def check_max_concurrent_requests(value: int) -> int:
    """Return ``value``, the bound on an app's calls at one time.

    Raises:
        ConfigurationError: when it is below 1.
    """
    _check_count(value, "max_concurrent_requests")
    return value


def _check_count(value: object, option: str, *, least: int = 1) -> None:
    _check_type(value, option, int)
    assert isinstance(value, int)
    _check(value >= least, option, value, f"at least {least}")


def _check_type(value: object, option: str, *kinds: type) -> None:
    # True is an int, and no number of anything.
    right = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
    _check(right, option, value, f"of type {' or '.join(kind.__name__ for kind in kinds)}")


def _check(holds: bool, option: str, value: object, bound: str) -> None:
    if not holds:
        raise ConfigurationError(f"{option} is {value!r}; it must be {bound}")
