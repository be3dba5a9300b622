from __future__ import annotations

from typing import Any

import pytest

from blazerpc_client.transport.limits import Counter, Limits, Pace, PingStrikes


@pytest.mark.parametrize(
    ("option", "value", "bound"),
    [
        ("max_receive_message", -1, "0 to "),
        ("max_header_list", 10, "1024 to "),
        ("max_concurrent_streams", 0, "1 to "),
        ("max_frame_size", 100, "16384 to "),
        ("max_frame_size", 1 << 24, "16384 to "),
        ("stream_window", 1 << 31, "1 to "),
        ("connection_window", 1000, "65535 to "),
        ("idle_timeout", -1, "0.001 to "),
        ("stall_timeout", float("nan"), "0 to "),
        ("max_connections", 0, "1 to "),
    ],
)
def test_a_limit_out_of_its_bounds_is_refused_by_name(
    option: str, value: float, bound: str
) -> None:
    with pytest.raises(ValueError, match=f"{option} is {value}; it must be {bound}"):
        make({option: value})


def make(options: dict[str, Any]) -> Limits:
    return Limits(**options)


def test_a_counter_allows_a_burst_and_then_a_pace() -> None:
    counter = Counter(Pace(3, 2), now=0)
    assert [counter.allows(0) for _ in range(4)] == [True, True, True, False]
    assert [counter.allows(1) for _ in range(3)] == [True, True, False]
    assert [counter.allows(100) for _ in range(4)] == [True, True, True, False]


def test_a_counter_forgives_a_clock_that_stands_still() -> None:
    counter = Counter(Pace(1, 1e-9), now=5)
    assert counter.allows(5)
    assert not counter.allows(5)


def test_pings_that_come_too_soon_are_counted_until_a_call_is_answered() -> None:
    strikes = PingStrikes(interval=10, strikes=2)
    assert all(strikes.allows(now) for now in (0, 10, 20, 30))
    assert [strikes.allows(now) for now in (31, 32, 33)] == [True, True, False]
    strikes.reset()
    assert [strikes.allows(now) for now in (34, 35, 36, 37)] == [True, True, True, False]
