from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc import ConfigurationError, ExecutionOptions, ServeOptions


def test_the_defaults_are_allowed() -> None:
    assert ServeOptions() == ServeOptions(host="127.0.0.1", port=50051, grace_period=5.0)
    assert ExecutionOptions() == ExecutionOptions(
        enable_batching=True, max_batch_size=32, batch_timeout_ms=10.0
    )


@pytest.mark.parametrize("port", [0, 1, 65535])
def test_a_port_within_its_bounds_is_allowed(port: int) -> None:
    assert ServeOptions(port=port).port == port


@given(st.integers().filter(lambda port: not 0 <= port <= 65535))
def test_a_port_out_of_its_bounds_is_refused_by_name(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^port is {port}; it must be 0 to 65535$"):
        ServeOptions(port=port)


@pytest.mark.parametrize("seconds", [-1.0, -1e-9, math.nan, math.inf, 3600.0])
def test_a_grace_period_out_of_its_bounds_is_refused_by_name(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^grace_period is .*; it must be 0 to an hour$"):
        ServeOptions(grace_period=seconds)


def test_no_grace_period_is_allowed() -> None:
    assert ServeOptions(grace_period=0).grace_period == 0


def test_an_empty_host_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^host is ''; it must be an address$"):
        ServeOptions(host="")


@pytest.mark.parametrize("host", ["unix:", "unix://host/path", "unix:/a\0b"])
def test_a_unix_socket_without_a_path_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^host is .*; a UNIX socket is unix:PATH$"):
        ServeOptions(host=host)


def test_the_endpoint_for_metrics_is_where_the_server_is_if_that_can_be() -> None:
    assert ServeOptions(host="10.0.0.1").metrics_address == "10.0.0.1"
    assert ServeOptions(host="unix:/a").metrics_address == "127.0.0.1"
    assert ServeOptions(host="unix:/a", metrics_host="::1").metrics_address == "::1"


@given(st.integers().filter(lambda workers: not 1 <= workers <= 1024))
def test_a_number_of_workers_out_of_its_bounds_is_refused_by_name(workers: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^workers is {workers}; it must be 1 to 1024$"):
        ServeOptions(workers=workers)


@given(st.integers(max_value=0))
def test_a_batch_of_less_than_one_is_refused_by_name(size: int) -> None:
    with pytest.raises(ConfigurationError, match=f"^max_batch_size is {size}; .* at least 1$"):
        ExecutionOptions(max_batch_size=size)


@pytest.mark.parametrize("milliseconds", [-0.1, math.nan, math.inf, 3.6e6])
def test_a_batch_timeout_out_of_its_bounds_is_refused_by_name(milliseconds: float) -> None:
    with pytest.raises(ConfigurationError, match=r"^batch_timeout_ms is .*; it must be 0 to an h"):
        ExecutionOptions(batch_timeout_ms=milliseconds)


def test_options_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ServeOptions().port = 1  # type: ignore[misc]  # what is tested
