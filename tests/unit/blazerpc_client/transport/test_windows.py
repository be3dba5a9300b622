from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from blazerpc_client.transport.windows import MAX_WINDOW, ReceiveWindow, SendWindow


def test_a_send_window_may_become_negative_but_not_too_large() -> None:
    window = SendWindow(10)
    assert window.grow(-20)
    assert window.size == -10
    assert window.grow(MAX_WINDOW + 10)
    assert not window.grow(1)


def test_more_than_the_window_is_noticed() -> None:
    window = ReceiveWindow(10)
    assert window.take(10)
    assert not window.take(1)


@given(st.integers(1, 1000), st.lists(st.integers(1, 1000)))
def test_what_is_read_is_given_back_in_halves_at_least_and_none_is_lost(
    size: int, reads: list[int]
) -> None:
    window = ReceiveWindow(size)
    for wish in reads:
        count = min(wish, window.size)
        assert window.take(count)
        increment = window.release(count)
        assert increment == 0 or increment * 2 >= size
        # A reader that keeps up is never without a window.
        assert window.size * 2 >= size or size == 1
        assert window.size > 0
        assert window.size <= size
