from __future__ import annotations

from typing import Any

import pytest

from blazerpc_client import Backoff

EXACT = Backoff(jitter=0)


def test_waits_are_those_of_grpc() -> None:
    waits = [EXACT.wait(failures) for failures in range(1, 13)]
    assert waits[:3] == pytest.approx([1, 1.6, 2.56])
    assert waits[-2:] == pytest.approx([1.6**10, 120])


def test_a_wait_stays_bounded_however_often_it_failed() -> None:
    steep = Backoff(multiplier=100, maximum=3600, jitter=0)
    assert steep.wait(10**9) == 3600


def test_jitter_spreads_the_waits_around_their_mean() -> None:
    waits = [Backoff(initial=10, jitter=0.2).wait(1) for _ in range(200)]
    assert 8 <= min(waits) < 9.5
    assert 10.5 < max(waits) <= 12


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("initial", 0),
        ("initial", -1),
        ("initial", float("nan")),
        ("initial", True),
        ("initial", "1"),
        ("multiplier", 0.9),
        ("maximum", 3601),
        ("maximum", float("inf")),
        ("jitter", 1.1),
    ],
)
def test_an_option_out_of_its_bounds_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{option} is {value!r}; it must be "):
        Backoff(**{option: value})
