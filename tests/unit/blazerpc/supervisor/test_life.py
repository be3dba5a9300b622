from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc.supervisor.life import Action, Event, Life, State

PROCESS = (State.STARTING, State.SERVING, State.RETIRING, State.STOPPING, State.HURRIED)


def life(state: State) -> Life:
    made = Life()
    made.state = state
    return made


def allowed(state: State) -> list[Event]:
    """Return the events that can happen in a state."""
    found = []
    for event in Event:
        try:
            life(state).feed(event)
        except RuntimeError:
            continue
        found.append(event)
    return found


PAIRS = [*itertools.product(State, Event)]


@pytest.mark.parametrize(("state", "event"), [p for p in PAIRS if p[1] not in allowed(p[0])])
def test_an_event_that_cannot_happen_raises_and_changes_nothing(state: State, event: Event) -> None:
    fed = life(state)
    with pytest.raises(RuntimeError, match=f"^a worker that is {state.name} got {event.name}$"):
        fed.feed(event)
    assert fed.state is state


@pytest.mark.parametrize(("state", "event"), [p for p in PAIRS if p[1] in allowed(p[0])])
def test_a_process_starts_where_there_is_none_and_is_forgotten_only_when_it_has_ended(
    state: State, event: Event
) -> None:
    fed = life(state)
    action = fed.feed(event)
    had, has = state in PROCESS and event is not Event.EXITED, fed.state in PROCESS
    assert has == (had or action is Action.SPAWN)
    assert not (had and action is Action.SPAWN)


@pytest.mark.parametrize("state", PROCESS)
def test_a_process_may_end_at_any_time(state: State) -> None:
    assert Event.EXITED in allowed(state)


@pytest.mark.parametrize("state", [*State])
def test_a_stop_is_possible_at_any_time_and_final(state: State) -> None:
    stopped = life(state)
    stopped.feed(Event.STOP)
    assert stopped.feed(Event.STOP) is Action.NOTHING
    if stopped.state in PROCESS:
        assert stopped.feed(Event.EXITED) is Action.END
    assert stopped.state is State.ENDED


@given(st.data())
def test_whatever_happens_it_ends_once_and_hears_of_nothing_but_signals_then(
    data: st.DataObject,
) -> None:
    lived, ends = Life(), 0
    for _ in range(data.draw(st.integers(0, 30))):
        ends += lived.feed(data.draw(st.sampled_from(allowed(lived.state)))) is Action.END
    assert ends == (lived.state is State.ENDED)
    assert set(allowed(State.ENDED)) == {Event.STOP, Event.HURRY}


def test_a_second_signal_hurries_and_a_third_kills() -> None:
    worker = life(State.SERVING)
    assert worker.feed(Event.STOP) is Action.DRAIN
    assert worker.feed(Event.HURRY) is Action.HURRY
    assert worker.feed(Event.HURRY) is Action.KILL
    assert worker.feed(Event.EXITED) is Action.END


def test_a_process_without_calls_is_not_drained() -> None:
    assert life(State.STARTING).feed(Event.STOP) is Action.TERMINATE
    assert life(State.STARTING).feed(Event.START) is Action.TERMINATE


def test_a_replaced_process_is_followed_by_one_and_not_by_two() -> None:
    worker = life(State.SERVING)
    assert worker.feed(Event.START) is Action.DRAIN
    assert worker.feed(Event.START) is Action.NOTHING
    assert worker.feed(Event.EXITED) is Action.SPAWN
    assert worker.state is State.STARTING
