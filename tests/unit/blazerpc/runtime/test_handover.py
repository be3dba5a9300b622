"""Items of a synchronous iterator, handed from threads to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from contextvars import ContextVar

import pytest

from blazerpc.runtime.handover import AHEAD, END, HandOver
from blazerpc.runtime.threads import DaemonPool
from tests.unit.blazerpc.support import PATIENCE, until

Pools = Callable[[int], DaemonPool]

caller: ContextVar[str] = ContextVar("caller", default="nobody")


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    """Make pools whose threads end with the test."""
    made: list[DaemonPool] = []

    def make(threads: int) -> DaemonPool:
        made.append(DaemonPool(threads, "test"))
        return made[-1]

    yield make
    for pool in made:
        pool.shutdown(wait=False)
        await asyncio.to_thread(pool.shutdown)


def handed_over(source: Iterator[object], pool: DaemonPool) -> HandOver:
    return HandOver(source, pool, nullcontext)


async def all_of(handover: HandOver) -> list[object]:
    items: list[object] = []
    async with asyncio.timeout(PATIENCE):
        while (item := await handover.take()) is not END:
            items.append(item)
    return items


async def idle(pool: DaemonPool) -> None:
    """Wait until a thread of the pool is free."""
    async with asyncio.timeout(PATIENCE):
        await asyncio.wrap_future(pool.submit(int))


async def rests(handover: HandOver) -> None:
    """Wait until the iterator has no thread."""
    await until(lambda: handover.job is not None and handover.job.done())


class Numbers:
    """A generator that can be held, and tells what became of it."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.begun = threading.Event()
        self.closed = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, count: int = 1000) -> Iterator[int]:
        try:
            self.begun.set()
            for number in range(count):
                self.go.wait(PATIENCE)
                self.made.append(number)
                yield number
        finally:
            assert threading.current_thread() is not threading.main_thread()
            self.closed.set()


@pytest.mark.parametrize("count", [0, 1, AHEAD, 100])
async def test_every_item_arrives_in_order(pools: Pools, count: int) -> None:
    numbers = Numbers()
    assert await all_of(handed_over(numbers(count), pools(1))) == [*range(count)]
    assert numbers.closed.is_set()


async def test_what_is_no_generator_is_handed_over_too(pools: Pools) -> None:
    assert await all_of(handed_over(iter("abc"), pools(1))) == [*"abc"]


async def test_the_end_is_told_again_and_again(pools: Pools) -> None:
    handover = handed_over(iter("a"), pools(1))
    assert await all_of(handover) == ["a"]
    assert await handover.take() is END
    assert await handover.take() is END


async def test_nothing_is_made_before_somebody_takes(pools: Pools) -> None:
    numbers, pool = Numbers(), pools(1)
    handover = handed_over(numbers(), pool)
    await idle(pool)
    assert numbers.made == []
    handover.close()


async def test_items_that_nobody_takes_stop_the_iterator_which_keeps_no_thread(
    pools: Pools,
) -> None:
    pool, slow = pools(1), Numbers()
    handover = handed_over(slow(), pool)
    assert await handover.take() == 0
    await rests(handover)
    made = len(slow.made)
    assert AHEAD <= made <= AHEAD + 1  # the first was taken before or after the last was made
    # There is but one thread.
    assert await all_of(handed_over(Numbers()(30), pool)) == [*range(30)]
    assert len(slow.made) == made
    for expected in range(1, 50):
        assert await handover.take() == expected
    handover.close()


async def test_iterators_that_share_a_thread_go_on_in_turn(pools: Pools) -> None:
    pool, go, made = pools(1), threading.Event(), list[str]()

    def model(name: str) -> Iterator[int]:
        go.wait(PATIENCE)
        for number in range(100):
            made.append(name)
            yield number

    streams = [asyncio.create_task(all_of(handed_over(model(name), pool))) for name in "abc"]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*streams) == [[*range(100)]] * 3
    assert made[:12] == [*"abcabcabcabc"]


async def test_many_iterators_on_few_threads_all_arrive(pools: Pools) -> None:
    pool = pools(2)
    streams = [all_of(handed_over(Numbers()(25), pool)) for _ in range(40)]
    assert await asyncio.gather(*streams) == [[*range(25)]] * 40


# The end before the end.


async def test_close_runs_what_the_generator_has_to_clean_up(pools: Pools) -> None:
    pool, numbers = pools(1), Numbers()
    handover = handed_over(numbers(), pool)
    assert await handover.take() == 0
    await rests(handover)
    handover.close()
    assert handover.job is not None
    await asyncio.wrap_future(handover.job)
    assert numbers.closed.is_set()
    assert len(numbers.made) <= 1 + AHEAD


async def test_close_in_the_middle_of_an_item_cleans_up_after_that_item(pools: Pools) -> None:
    pool, numbers = pools(1), Numbers()
    numbers.go.clear()
    handover = handed_over(numbers(), pool)
    taker = asyncio.create_task(handover.take())
    await asyncio.sleep(0)
    await until(numbers.begun.is_set)
    job = handover.job
    assert job is not None
    taker.cancel()
    handover.close()
    assert handover.job is job
    assert not numbers.closed.is_set()
    numbers.go.set()
    await asyncio.wrap_future(job)
    assert numbers.closed.is_set()
    assert numbers.made == [0]


async def test_close_before_the_first_item_starts_nothing(pools: Pools) -> None:
    pool, numbers = pools(1), Numbers()
    handover = handed_over(numbers(), pool)
    handover.close()
    await idle(pool)
    assert numbers.made == []


async def test_close_after_the_end_takes_no_thread(pools: Pools) -> None:
    handover = handed_over(iter("ab"), pools(1))
    assert await all_of(handover) == ["a", "b"]
    job = handover.job
    handover.close()
    assert handover.job is job


async def test_what_a_generator_raises_while_it_is_closed_is_dropped(pools: Pools) -> None:
    pool = pools(1)

    def stubborn() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise SystemExit("while it is closed")

    handover = handed_over(stubborn(), pool)
    assert await handover.take() == 1
    await rests(handover)
    handover.close()
    assert handover.job is not None
    await asyncio.wrap_future(handover.job)


@pytest.mark.parametrize("count", [0, 3, 20])
async def test_an_error_comes_after_the_items_that_were_made(pools: Pools, count: int) -> None:
    def failing() -> Iterator[int]:
        yield from range(count)
        raise ValueError("bad item")

    handover = handed_over(failing(), pools(1))
    async with asyncio.timeout(PATIENCE):
        assert [await handover.take() for _ in range(count)] == [*range(count)]
        with pytest.raises(ValueError, match="bad item"):
            await handover.take()


async def test_a_pool_that_is_shut_down_meanwhile_is_told_after_the_items_that_were_made(
    pools: Pools,
) -> None:
    pool, numbers = pools(1), iter(range(1000))
    handover = handed_over(numbers, pool)
    assert await handover.take() == 0
    await rests(handover)
    pool.shutdown(wait=False)
    async with asyncio.timeout(PATIENCE):
        for expected in range(1, next(numbers)):
            assert await handover.take() == expected
        with pytest.raises(RuntimeError, match="the pool is shut down"):
            await handover.take()
    handover.close()


async def test_a_pool_that_was_shut_down_before_is_told_at_once(pools: Pools) -> None:
    pool = pools(1)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match="the pool is shut down"):
        await handed_over(iter("a"), pool).take()


# Context.


async def test_an_iterator_keeps_one_context_on_whichever_thread_it_runs(pools: Pools) -> None:
    pool, threads = pools(2), list[int]()
    let_go: dict[int, threading.Event] = {}

    def model() -> Iterator[str]:
        token = caller.set("the model")
        for _ in range(60):
            threads.append(threading.get_ident())
            yield caller.get()
        caller.reset(token)
        yield caller.get()

    def occupy() -> None:
        let_go[threading.get_ident()] = event = threading.Event()
        event.wait(PATIENCE)

    caller.set("somebody")
    handover = handed_over(model(), pool)
    caller.set("somebody else")
    items = [await handover.take()]
    await rests(handover)
    for _ in range(2):
        pool.submit(occupy)
    await until(lambda: len(let_go) == 2)
    (other,) = let_go.keys() - threads
    let_go[other].set()
    items += await all_of(handover)
    let_go[threads[0]].set()
    assert items == ["the model"] * 60 + ["somebody"]
    assert set(threads) == {threads[0], other}
    assert caller.get() == "somebody else"


async def test_a_generator_is_closed_in_the_context_that_it_ran_in(pools: Pools) -> None:
    pool, reset = pools(2), list[str]()

    def model() -> Iterator[int]:
        token = caller.set("the model")
        try:
            yield from range(1000)
        finally:
            caller.reset(token)  # raises in any other
            reset.append(caller.get())

    caller.set("somebody")
    handover = handed_over(model(), pool)
    await handover.take()
    await rests(handover)
    handover.close()
    await until(lambda: reset == ["somebody"])


def test_an_iterator_that_outlives_the_loop_fails_nobody() -> None:
    pool, numbers = DaemonPool(1, "test"), Numbers()
    numbers.go.clear()

    async def leave() -> HandOver:
        handover = handed_over(numbers(), pool)
        taker = asyncio.create_task(handover.take())
        await asyncio.sleep(0)
        taker.cancel()
        return handover

    handover = asyncio.run(leave())
    numbers.go.set()
    assert handover.job is not None
    assert handover.job.result(PATIENCE) is None
    assert len(numbers.made) <= AHEAD
    handover.close()
    assert numbers.closed.wait(PATIENCE)
    pool.shutdown()
