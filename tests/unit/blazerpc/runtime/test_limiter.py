"""Slots for calls: who gets one, when, and that none is lost."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from blazerpc.exceptions import DeadlineExceededError, OverloadedError
from blazerpc.runtime.limiter import Limiter, Slot
from blazerpc.runtime.threads import DaemonPool
from tests.unit.blazerpc.support import PATIENCE, until

#: A deadline that no test lives to see.
LATER = 1000.0


class Callers:
    """Calls that wait for their turn, and the order in which they got it."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.turns: list[str] = []
        self.slots: dict[str, Slot] = {}

    async def waiting(self, name: str, deadline: float | None = None) -> asyncio.Task[None]:
        """Return the task of a call that waits; a deadline counts from now."""
        at = None if deadline is None else time.monotonic() + deadline
        task = asyncio.create_task(self._call(name, at))
        await asyncio.sleep(0)
        return task

    async def _call(self, name: str, deadline: float | None) -> None:
        self.slots[name] = await self._limiter.acquire(deadline)
        self.turns.append(name)


def limiter(limit: int | None = 1, max_queue_size: int = 100) -> Limiter:
    return Limiter(limit, max_queue_size, "model 'm'")


async def drained(limiter: Limiter, slot: Slot, callers: Callers, count: int) -> list[str]:
    """Give the slot from call to call, and return the order."""
    slot.leave()
    for left in range(count, 0, -1):
        await until(lambda: bool(callers.slots))
        (last,) = callers.slots.values()
        callers.slots.clear()
        last.leave()
        assert (limiter.running, limiter.waiting) == (min(left - 1, 1), max(left - 2, 0))
    return callers.turns


# Turns.


async def test_up_to_the_limit_nobody_waits() -> None:
    tested = limiter(3)
    for taken in range(3):
        assert tested.running == taken
        await tested.acquire()
    callers = Callers(tested)
    task = await callers.waiting("a")
    assert (tested.running, tested.waiting, task.done()) == (3, 1, False)
    task.cancel()


async def test_without_a_limit_nobody_waits() -> None:
    tested = limiter(None, max_queue_size=0)
    slots = [await tested.acquire() for _ in range(1000)]
    assert tested.running == 1000
    for slot in slots:
        slot.leave()
    assert tested.running == 0


async def test_without_deadlines_turns_are_in_the_order_of_arrival() -> None:
    tested = limiter()
    callers, slot = Callers(tested), await tested.acquire()
    for name in "abcdef":
        await callers.waiting(name)
    assert await drained(tested, slot, callers, 6) == [*"abcdef"]


async def test_the_earliest_deadline_has_the_next_turn() -> None:
    tested = limiter()
    callers, slot = Callers(tested), await tested.acquire()
    await callers.waiting("no deadline")
    await callers.waiting("late", 20)
    await callers.waiting("early", 10)
    await callers.waiting("far away", LATER)
    turns = await drained(tested, slot, callers, 4)
    # One that is far away is as patient as none, and came later.
    assert turns == ["early", "late", "no deadline", "far away"]


async def test_one_that_comes_when_others_wait_does_not_overtake_them() -> None:
    tested = limiter()
    callers, slot = Callers(tested), await tested.acquire()
    await callers.waiting("first")
    slot.leave()  # the first has its turn, and has not run yet
    await callers.waiting("second")
    await until(lambda: callers.turns == ["first"])
    assert (tested.running, tested.waiting) == (1, 1)
    callers.slots["first"].leave()
    await until(lambda: callers.turns == ["first", "second"])


# Bounds.


async def test_beyond_the_queue_a_call_is_refused_at_once_and_told_when_to_come_back() -> None:
    tested = limiter(1, max_queue_size=2)
    await tested.acquire()
    callers = Callers(tested)
    tasks = [await callers.waiting(name) for name in "ab"]
    with pytest.raises(OverloadedError, match=r"^model 'm': the queue is full$") as caught:
        await tested.acquire()
    assert caught.value.retry_after == pytest.approx(0.3)  # nothing is known of its calls yet
    assert (tested.running, tested.waiting) == (1, 2)
    tasks[0].cancel()
    await asyncio.wait([tasks[0]])
    await callers.waiting("c")  # there is room again
    assert tested.waiting == 2


async def test_when_to_come_back_follows_how_long_calls_take() -> None:
    tested = limiter(2, max_queue_size=0)
    tested.running = 1
    tested.release(4.0)
    slots = [await tested.acquire() for _ in range(2)]
    with pytest.raises(OverloadedError) as caught:
        await tested.acquire()
    assert caught.value.retry_after == pytest.approx(4.0)
    for slot in slots:
        slot.leave()


async def test_a_queue_of_zero_refuses_all_that_would_wait() -> None:
    tested = limiter(1, max_queue_size=0)
    slot = await tested.acquire()
    with pytest.raises(OverloadedError):
        await tested.acquire()
    slot.leave()
    await tested.acquire()


# Deadlines and cancellation.


async def test_a_deadline_that_passes_while_waiting_is_told_and_takes_no_turn() -> None:
    tested = limiter()
    callers, slot = Callers(tested), await tested.acquire()
    late = await callers.waiting("late", -0.001)
    await callers.waiting("patient")
    slot.leave()
    with pytest.raises(DeadlineExceededError, match="deadline exceeded in the queue"):
        await late
    await until(lambda: callers.turns == ["patient"])
    callers.slots["patient"].leave()
    assert (tested.running, tested.waiting) == (0, 0)


async def test_a_call_that_is_cancelled_while_it_waits_leaves_the_queue() -> None:
    tested = limiter()
    callers, slot = Callers(tested), await tested.acquire()
    gone, next_ = await callers.waiting("gone"), await callers.waiting("next")
    gone.cancel()
    await asyncio.wait([gone])
    assert tested.waiting == 1
    slot.leave()
    await next_
    assert callers.turns == ["next"]


async def test_a_call_that_is_cancelled_when_it_just_got_its_turn_passes_it_on() -> None:
    tested = limiter()
    callers, slot = Callers(tested), await tested.acquire()
    gone, next_ = await callers.waiting("gone"), await callers.waiting("next")
    slot.leave()
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    await next_
    assert (callers.turns, tested.running, tested.waiting) == (["next"], 1, 0)


async def test_a_call_that_is_cancelled_when_its_deadline_has_just_passed_takes_nothing() -> None:
    tested = limiter()
    callers, slot = Callers(tested), await tested.acquire()
    gone = await callers.waiting("gone", -0.001)
    slot.leave()
    gone.cancel()
    await asyncio.wait([gone])
    assert gone.cancelled()
    assert (tested.running, tested.waiting) == (0, 0)


async def test_those_who_went_away_do_not_pile_up_in_the_queue() -> None:
    tested = limiter(max_queue_size=10)
    await tested.acquire()
    callers = Callers(tested)
    for number in range(1000):
        task = await callers.waiting(str(number))
        task.cancel()
        await asyncio.wait([task])
    assert tested.waiting == 0
    assert len(tested._queue) < 32


# Threads.


@pytest.fixture
def pool() -> Iterator[DaemonPool]:
    pool = DaemonPool(4, "test")
    yield pool
    pool.shutdown()


async def test_a_slot_is_held_by_a_thread_after_its_caller_has_gone(pool: DaemonPool) -> None:
    tested, go = limiter(), threading.Event()
    slot = await tested.acquire()
    future = pool.submit(go.wait, PATIENCE)
    slot.hold(future)
    slot.leave()
    callers = Callers(tested)
    task = await callers.waiting("next")
    assert (tested.running, task.done()) == (1, False)
    go.set()
    await task
    assert tested.running == 1
    callers.slots["next"].leave()
    assert tested.running == 0


async def test_a_slot_lasts_as_long_as_its_caller_when_the_thread_ends_first() -> None:
    tested = limiter()
    slot = await tested.acquire()
    done: Future[None] = Future()
    done.set_result(None)
    slot.hold(done)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tested.running == 1
    slot.leave()
    assert tested.running == 0


async def test_a_slot_that_two_threads_hold_lasts_until_the_second_is_done() -> None:
    tested = limiter()
    slot = await tested.acquire()
    one: Future[None] = Future()
    other: Future[None] = Future()
    slot.hold(one)
    slot.hold(other)
    slot.leave()
    one.set_result(None)
    await asyncio.sleep(0.001)
    assert tested.running == 1
    other.set_exception(ValueError())
    await until(lambda: tested.running == 0)


def test_a_thread_that_outlives_the_loop_fails_nobody() -> None:
    future: Future[None] = Future()

    async def call() -> None:
        slot = await limiter().acquire()
        slot.hold(future)
        slot.leave()

    asyncio.run(call())
    future.set_result(None)


@pytest.mark.parametrize("seed", range(4))
async def test_after_a_storm_of_calls_and_cancellations_nothing_is_left(
    pool: DaemonPool, seed: int
) -> None:
    chance = random.Random(seed)
    tested, most = limiter(3, max_queue_size=50), 0
    refused = 0

    async def call() -> None:
        nonlocal most, refused
        deadline = chance.choice([None, 0.0, 0.001, LATER])
        at = None if deadline is None else time.monotonic() + deadline
        try:
            slot = await tested.acquire(at)
        except (OverloadedError, DeadlineExceededError):
            refused += 1
            return
        try:
            most = max(most, tested.running)
            if chance.random() < 0.3:
                slot.hold(pool.submit(int))
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        finally:
            slot.leave()

    tasks: list[asyncio.Task[None]] = []
    for _ in range(2000):
        match chance.randrange(3):
            case 0:
                await asyncio.sleep(0)
            case 1 if tasks:
                chance.choice(tasks[-20:]).cancel()
        tasks.append(asyncio.create_task(call()))
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} == {type(None), asyncio.CancelledError}
    await until(lambda: tested.running == 0)
    assert tested.waiting == 0
    assert (most, refused > 0) == (3, True)
    assert not [waiting for waiting in tested._queue if not waiting.turn.done()]
