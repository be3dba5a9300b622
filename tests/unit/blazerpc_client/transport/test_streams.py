from __future__ import annotations

import itertools

import pytest

from blazerpc_client.transport.streams import TRANSITIONS, Input, State

RECEIVED = [what for what in Input if what.name.startswith("RECV")]
ENDS = {Input.RECV_HEADERS_END, Input.RECV_DATA_END, Input.SEND_HEADERS_END, Input.SEND_DATA_END}
RESETS = {Input.RECV_RST_STREAM, Input.SEND_RST_STREAM}


def expected(state: State, what: Input) -> State | None:
    """RFC 9113, section 5.1, in words instead of a table."""
    if state is State.CLOSED:
        return None
    receives = what.name.startswith("RECV")
    if state is State.IDLE:
        if what not in (
            Input.RECV_HEADERS,
            Input.RECV_HEADERS_END,
            Input.SEND_HEADERS,
            Input.SEND_HEADERS_END,
        ):
            return None
    elif what in RESETS:
        return State.CLOSED
    elif what in (Input.RECV_WINDOW_UPDATE, Input.SEND_WINDOW_UPDATE):
        return state
    # What this side or the peer has ended, it cannot go on with.
    if state is (State.HALF_CLOSED_REMOTE if receives else State.HALF_CLOSED_LOCAL):
        return None
    if what not in ENDS:
        return State.OPEN if state is State.IDLE else state
    if state in (State.IDLE, State.OPEN):
        return State.HALF_CLOSED_REMOTE if receives else State.HALF_CLOSED_LOCAL
    return State.CLOSED


@pytest.mark.parametrize(("state", "what"), list(itertools.product(State, Input)))
def test_every_pair_of_state_and_input(state: State, what: Input) -> None:
    assert TRANSITIONS.get((state, what)) == expected(state, what)


def test_every_state_but_closed_leads_to_closed() -> None:
    for state in State:
        reached, todo = set(), {state}
        while todo:
            reached |= todo
            todo = {TRANSITIONS[s, w] for s, w in TRANSITIONS if s in todo} - reached
        assert State.CLOSED in reached
