from __future__ import annotations

import subprocess
import sys
import threading
import weakref
from concurrent.futures import CancelledError

import pytest

from blazerpc.runtime.threads import DaemonPool

#: Seconds after which what should come at once will not come.
PATIENCE = 5.0


def test_the_result_is_that_of_the_call() -> None:
    pool = DaemonPool(1, "test")
    assert pool.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)
    assert pool.submit(int, "ff", base=16).result(PATIENCE) == 255
    pool.shutdown()


@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_call_raises_is_raised_from_its_future(error: BaseException) -> None:
    pool = DaemonPool(1, "test")

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        pool.submit(fail).result(PATIENCE)
    assert caught.value is error
    # The thread lives on.
    assert pool.submit(int).result(PATIENCE) == 0
    pool.shutdown()


def test_calls_run_at_the_same_time_and_no_more_than_the_limit() -> None:
    pool, limit = DaemonPool(3, "test"), 3
    together = threading.Barrier(limit)
    lock = threading.Lock()
    running, most = 0, 0

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(PATIENCE)  # passes only when so many run at once
        with lock:
            running -= 1
        together.wait(PATIENCE)

    for future in [pool.submit(call) for _ in range(4 * limit)]:
        future.result(PATIENCE)
    assert most == limit
    pool.shutdown()


def test_an_idle_thread_is_used_again() -> None:
    pool = DaemonPool(8, "test")
    names = set()
    for _ in range(20):
        names.add(pool.submit(lambda: threading.current_thread().name).result(PATIENCE))
        # The result is there a moment before its thread is idle.
    assert names <= {"test-0", "test-1"}
    pool.shutdown()


def test_a_busy_thread_does_not_hold_up_the_next_call() -> None:
    pool = DaemonPool(8, "test")
    never = threading.Event()
    for _ in range(7):
        pool.submit(never.wait)
    assert pool.submit(int).result(PATIENCE) == 0
    never.set()
    pool.shutdown()


def test_no_thread_is_started_before_it_is_needed() -> None:
    before = threading.active_count()
    pool = DaemonPool(8, "test")
    assert threading.active_count() == before
    pool.submit(int).result(PATIENCE)
    assert threading.active_count() == before + 1
    pool.shutdown()
    assert threading.active_count() == before


def test_a_call_that_waits_can_be_cancelled_and_does_not_run() -> None:
    pool = DaemonPool(1, "test")
    go, ran = threading.Event(), threading.Event()
    first = pool.submit(go.wait, PATIENCE)
    waiting = pool.submit(ran.set)
    assert waiting.cancel()
    go.set()
    assert first.result(PATIENCE)
    assert pool.submit(int).result(PATIENCE) == 0
    assert not ran.is_set()
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE)
    pool.shutdown()


def test_a_call_that_runs_cannot_be_cancelled() -> None:
    pool = DaemonPool(1, "test")
    started, go = threading.Event(), threading.Event()

    def call() -> str:
        started.set()
        go.wait(PATIENCE)
        return "done"

    future = pool.submit(call)
    assert started.wait(PATIENCE)
    assert not future.cancel()
    go.set()
    assert future.result(PATIENCE) == "done"
    pool.shutdown()


def test_after_a_shutdown_nothing_is_taken() -> None:
    pool = DaemonPool(1, "test")
    pool.shutdown()
    with pytest.raises(RuntimeError, match="the pool is shut down"):
        pool.submit(int)


def test_what_was_submitted_before_a_shutdown_still_runs() -> None:
    pool = DaemonPool(2, "test")
    go = threading.Event()
    futures = [pool.submit(go.wait, PATIENCE) for _ in range(6)]
    pool.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    go.set()
    assert all(future.result(PATIENCE) for future in futures)


def test_a_shutdown_waits_for_the_threads() -> None:
    pool = DaemonPool(2, "test")
    before = threading.active_count()
    future = pool.submit(sum, range(100_000))
    pool.shutdown()
    assert future.done()
    assert threading.active_count() == before
    pool.shutdown()


def test_a_thread_that_is_stuck_forever_does_not_keep_the_process() -> None:
    code = """
import threading
from blazerpc.runtime.threads import DaemonPool

started = threading.Event()
def stuck():
    started.set()
    threading.Event().wait()
pool = DaemonPool(2, "test")
pool.submit(stuck)
started.wait()
pool.shutdown(wait=False)
print("over")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_a_result_is_not_kept_by_an_idle_thread() -> None:
    class Result:
        pass

    pool = DaemonPool(1, "test")
    result = pool.submit(Result).result(PATIENCE)
    pool.submit(int).result(PATIENCE)
    gone = weakref.ref(result)
    del result
    assert gone() is None
    pool.shutdown()
