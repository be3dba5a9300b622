"""Options, checked where they are made; the command line and the Python API make the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from blazerpc.exceptions import ConfigurationError
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How requests are batched.

    Attributes:
        enabled: whether models that can take many requests in one call do.
        max_size: requests in a batch, at most.
        timeout_ms: milliseconds that the first request of a batch waits for others, at most.

    Raises:
        ConfigurationError: naming the option and its bound.
    """

    enabled: bool = True
    max_size: int = 32
    timeout_ms: float = 10.0

    def __post_init__(self) -> None:
        _check(self.max_size >= 1, "max_batch_size", self.max_size, "at least 1")
        _check(0 <= self.timeout_ms < 3.6e6, "batch_timeout_ms", self.timeout_ms, "0 to an hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """Where an app is served, and how it ends.

    Attributes:
        host: address to listen on.
        port: likewise; 0 lets the system choose.
        grace_period: seconds that calls in flight have to finish after a stop.
        lock: file with the numbers on the wire, which ``blaze proto --lock`` keeps; None numbers
            fields in the order in which they are written.
        http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what clients may ask of BlazeRPC's HTTP/2.

    Raises:
        ConfigurationError: naming the option and its bound.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    grace_period: float = 5.0
    lock: Path | None = None
    http: Http | None = None
    limits: Limits = DEFAULT

    def __post_init__(self) -> None:
        _check(bool(self.host), "host", self.host, "an address")
        _check(0 <= self.port < 1 << 16, "port", self.port, "0 to 65535")
        _check(0 <= self.grace_period < 3600, "grace_period", self.grace_period, "0 to an hour")
        _check(self.http in (None, *get_args(Http)), "http", self.http, "'blaze' or 'h2'")


def _check(holds: bool, option: str, value: object, bound: str) -> None:
    if not holds:
        raise ConfigurationError(f"{option} is {value!r}; it must be {bound}")
