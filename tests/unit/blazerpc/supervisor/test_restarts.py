from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blazerpc.supervisor.restarts import RestartPolicy, Restarts

POLICY = RestartPolicy(first_delay=0.5, max_crashes=4, window=10.0)


def test_each_crash_doubles_the_delay_and_the_last_is_one_too_many() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.crashed(now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.5, 1.0, 2.0, None]


def test_a_crash_is_forgotten_after_the_window() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.crashed(now) for now in (0.0, 1.0, 10.0, 20.0, 29.9)] == [
        0.5,
        1.0,
        1.0,
        0.5,
        1.0,
    ]


def test_another_program_begins_anew() -> None:
    restarts = Restarts(POLICY)
    restarts.crashed(0.0)
    restarts.forget()
    assert restarts.crashed(0.1) == 0.5


def test_one_crash_can_be_one_too_many() -> None:
    assert Restarts(RestartPolicy(max_crashes=1)).crashed(0.0) is None


@given(st.lists(st.floats(0, 30), max_size=20))
def test_it_gives_up_exactly_when_so_many_are_within_the_window(gaps: list[float]) -> None:
    restarts, now, times = Restarts(POLICY), 0.0, list[float]()
    for gap in gaps:
        now += gap
        times.append(now)
        recent = [time for time in times if now - time < POLICY.window]
        assert (restarts.crashed(now) is None) == (len(recent) >= POLICY.max_crashes)
