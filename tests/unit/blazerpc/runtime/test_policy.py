"""When a batch goes: arithmetic, with the time passed in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc.runtime.policy import PATIENCE, Average, BatchPolicy, retry_after, urgency

#: Seconds; what waits for it waits for the timer alone.
TIMEOUT = 8.0


def policy(max_size: int = 8, timeout: float = TIMEOUT) -> BatchPolicy:
    return BatchPolicy(max_size, timeout)


def wait(
    policy: BatchPolicy,
    now: float,
    *,
    rows: int = 1,
    oldest: float = 100.0,
    incoming: int = 0,
    running: int = 0,
) -> float:
    return policy.wait(now, rows=rows, oldest=oldest, incoming=incoming, running=running)


def after_a_batch(requests: int, duration: float, *, at: float = 100.0) -> BatchPolicy:
    """Return the policy of a model that has just served its first batch."""
    served = policy()
    for _ in range(requests):
        served.arrived(at - duration)
    served.served(at, duration, requests)
    return served


# One batch.


@pytest.mark.parametrize("rows", [8, 9, 1000])
def test_a_full_batch_goes_whatever_is_on_its_way(rows: int) -> None:
    assert wait(policy(), 100.0, rows=rows, incoming=5, running=3) == 0


def test_a_batch_whose_time_is_over_goes_whatever_is_on_its_way() -> None:
    assert wait(policy(), 100.0 + TIMEOUT, incoming=5, running=3) == 0
    assert wait(policy(), 1000.0, incoming=5, running=3) == 0


def test_a_timeout_of_zero_never_waits() -> None:
    assert wait(policy(timeout=0.0), 100.0, incoming=5, running=3) == 0


@pytest.mark.parametrize("timeout", [0.0, 0.01, 1.0, 3599.0])
def test_a_lone_caller_never_waits_whatever_the_timeout(timeout: float) -> None:
    lone, now = policy(timeout=timeout), 100.0
    for _ in range(20):
        lone.arrived(now)
        assert wait(lone, now, oldest=now) == 0
        now += 0.5
        lone.served(now, 0.5, 1)
        now += 0.001  # and it is back at once


def test_a_message_on_its_way_is_waited_for_until_the_time_is_over() -> None:
    assert wait(policy(), 100.0, incoming=1) == TIMEOUT
    assert wait(policy(), 103.0, incoming=1) == TIMEOUT - 3
    assert wait(policy(), 103.0, incoming=0) == 0


# Callers that return.


def test_after_a_batch_of_several_the_first_to_return_waits_for_the_others() -> None:
    back = after_a_batch(3, duration=4.0)
    back.arrived(100.0)
    assert wait(back, 100.0) == 1.0  # a quarter of what the batch took
    back.arrived(100.25)
    assert wait(back, 100.25, rows=2) == 0.75
    back.arrived(100.5)
    assert wait(back, 100.5, rows=3) == 0  # all are back


def test_callers_that_do_not_return_are_waited_for_once() -> None:
    back = after_a_batch(3, duration=4.0)
    back.arrived(100.0)
    assert wait(back, 101.0) == 0
    back.served(105.0, 4.0, 1)
    back.arrived(105.0)
    assert wait(back, 105.0, oldest=105.0) == 0


def test_callers_that_return_are_waited_for_no_longer_than_the_timeout() -> None:
    back = after_a_batch(3, duration=1000.0)
    back.arrived(100.0)
    assert wait(back, 100.0) == TIMEOUT


def test_callers_that_return_do_not_prolong_the_time_of_one_that_has_waited_before() -> None:
    back = after_a_batch(3, duration=20.0)
    assert wait(back, 100.0, oldest=93.0) == 1.0


# Batches side by side.


def observed(gap: float) -> BatchPolicy:
    """Return the policy of a model to which a request came every ``gap`` seconds, until 100."""
    seen = policy()
    for number in reversed(range(50)):
        seen.arrived(100.0 - number * gap)
    return seen


def test_beside_a_running_batch_the_next_waits_when_more_will_come_in_time() -> None:
    assert wait(observed(1.0), 100.0, running=1) == pytest.approx(4.0)
    assert wait(observed(1.0), 103.0, running=1) == pytest.approx(1.0)
    assert wait(observed(3.0), 100.0, running=1) == TIMEOUT


def test_beside_a_running_batch_nobody_waits_for_those_who_have_stopped_coming() -> None:
    assert wait(observed(1.0), 104.0, running=1) == 0
    assert wait(observed(1.0), 106.0, running=1) == 0


def test_beside_a_running_batch_nobody_waits_for_what_comes_too_late() -> None:
    assert wait(observed(TIMEOUT + 1), 100.0, running=1) == 0
    assert wait(observed(3.0), 106.0, running=1) == 0


def test_an_idle_model_waits_for_nobody_however_often_requests_have_come() -> None:
    assert wait(observed(1.0), 100.0, running=0) == 0


def test_before_a_rate_was_observed_nobody_waits() -> None:
    first = policy()
    assert wait(first, 100.0, running=1) == 0
    first.arrived(100.0)
    assert wait(first, 100.0, running=1) == 0


# Whatever happens.

seconds = st.floats(min_value=0, max_value=1e6)

#: Seconds that pass, and then a request that comes, or a batch with its duration and requests.
Event = tuple[float, tuple[float, int] | None]
events = st.lists(
    st.tuples(st.floats(0, 10), st.none() | st.tuples(st.floats(0, 100), st.integers(1, 64))),
    max_size=30,
)


def replayed(policy: BatchPolicy, past: list[Event]) -> float:
    """Tell a policy what has happened, and return the time."""
    now = 0.0
    for passed, batch in past:
        now += passed
        if batch is None:
            policy.arrived(now)
        else:
            policy.served(now, *batch)
    return now


@given(events, seconds, st.floats(0, 20), st.integers(0, 40), st.integers(0, 3), st.integers(0, 3))
def test_a_wait_is_never_negative_and_never_goes_beyond_the_timeout(
    past: list[Event],
    timeout: float,
    age: float,
    rows: int,
    incoming: int,
    running: int,
) -> None:
    tested = BatchPolicy(32, timeout)
    now = replayed(tested, past)
    oldest = now - age
    left = oldest + timeout - now
    waited = tested.wait(now, rows=rows, oldest=oldest, incoming=incoming, running=running)
    assert 0 <= waited <= max(left, 0)
    if rows >= 32:
        assert waited == 0
    # One look later nothing has come, and the wait has not become longer.
    later = tested.wait(now + waited, rows=rows, oldest=oldest, incoming=incoming, running=running)
    assert later <= max(left - waited, 0) + 1e-6


@given(events, st.integers(0, 31), st.integers(0, 31))
def test_more_rows_never_make_a_batch_wait_longer(past: list[Event], rows: int, more: int) -> None:
    tested = BatchPolicy(32, TIMEOUT)
    now = replayed(tested, past)
    assert wait(tested, now, rows=rows + more, oldest=now) <= wait(
        tested, now, rows=rows, oldest=now
    )


# Averages, urgency, and when to come back.


def averaged(values: list[float], weight: float = 0.2) -> float | None:
    average = Average(weight)
    for value in values:
        average.add(value)
    return average.value


def test_an_average_begins_with_the_first_value_and_follows_the_recent_ones() -> None:
    assert averaged([]) is None
    assert averaged([4.0], 0.5) == 4.0
    assert averaged([4.0, 8.0], 0.5) == 6.0
    assert averaged([4.0, 8.0, *[1.0] * 60], 0.5) == pytest.approx(1.0)


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_an_average_is_between_the_least_and_the_greatest(values: list[float]) -> None:
    average = averaged(values)
    assert average is not None
    assert min(values) - 1e-6 <= average <= max(values) + 1e-6


def test_the_first_deadline_is_the_most_urgent() -> None:
    assert urgency(5.0, 6.0) < urgency(1.0, 7.0)


def test_without_a_deadline_who_came_first_is_the_most_urgent() -> None:
    assert urgency(1.0, None) < urgency(2.0, None)


def test_nobody_is_overtaken_for_ever() -> None:
    assert urgency(0.0, None) < urgency(PATIENCE, PATIENCE + 0.1)
    assert urgency(0.0, 1e9) < urgency(PATIENCE, PATIENCE + 0.1)


@pytest.mark.parametrize(
    ("waiting", "at_once", "duration", "seconds"),
    [
        (0, 1, 2.0, 2.0),  # what runs now has to end
        (3, 1, 2.0, 8.0),
        (32, 32, 0.5, 1.0),
        (64, 32, 0.5, 1.5),
        (3, 1, None, 0.4),  # nothing is known yet
        (1000, 1, 10.0, 60.0),
        (0, 32, 0.0, 0.001),
    ],
)
def test_when_to_come_back_is_when_the_queue_will_have_been_served(
    waiting: int, at_once: int, duration: float | None, seconds: float
) -> None:
    assert retry_after(waiting, at_once, duration) == pytest.approx(seconds)


@given(st.integers(0, 10**6), st.integers(1, 10**4), st.none() | st.floats(0, 1e6))
def test_when_to_come_back_is_within_its_bounds(
    waiting: int, at_once: int, duration: float | None
) -> None:
    assert 0.001 <= retry_after(waiting, at_once, duration) <= 60
