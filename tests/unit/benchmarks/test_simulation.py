"""The simulation of a server: against what queueing theory says, and the real batcher's policy."""

from __future__ import annotations

import pytest

from benchmarks.simulation import Latency, Process, Times, busiest, simulate, sustained

NOTHING = Times({1: [0.0]})


def process(service: dict[int, list[float]], max_size: int = 32) -> Process:
    return Process(Times(service), NOTHING, max_size, timeout=0.01)


def test_times_are_drawn_in_between_and_never_beyond_what_was_measured() -> None:
    times = Times({2: [1.0, 3.0], 4: [5.0, 7.0]})
    assert [times.draw(size, 0.0) for size in (1, 2, 3, 4, 9)] == [1, 1, 3, 5, 5]
    assert [times.draw(size, 0.99) for size in (1, 2, 3, 4, 9)] == [3, 3, 5, 7, 7]
    assert times.mean(3) == pytest.approx(4)


def test_a_lone_request_waits_for_nobody() -> None:
    found = simulate(process({1: [0.001]}), rate=0.1, requests=200)
    assert found.p50 == pytest.approx(0.001)
    assert found.p99 == pytest.approx(0.001)


def test_without_batches_it_is_a_queue_with_one_server() -> None:
    # M/D/1 at half its capacity, by Erlang's distribution of its waits: half of the requests find
    # nobody, and 99 of 100 wait for less than 3.35 services.
    found = simulate(process({1: [0.01]}, max_size=1), rate=50, requests=20_000)
    assert found.p50 == pytest.approx(0.0100, rel=0.1)
    assert found.p99 == pytest.approx(0.0435, rel=0.1)


def test_batches_serve_what_single_requests_could_not() -> None:
    service = {1: [0.010], 32: [0.020]}
    assert simulate(process(service), rate=800, requests=5000).p99 < 0.060
    assert simulate(process(service, max_size=1), rate=800, requests=5000).p99 > 1


def test_what_a_call_costs_besides_is_added() -> None:
    slow = Process(Times({1: [0.001]}), Times({1: [0.5]}), 32, timeout=0.01)
    assert simulate(slow, rate=0.1, requests=200).p50 == pytest.approx(0.501)


def test_the_same_seed_gives_the_same_and_another_one_another() -> None:
    server = process({1: [0.01, 0.02]})
    assert simulate(server, 50, 1000, seed=1) == simulate(server, 50, 1000, seed=1)
    assert simulate(server, 50, 1000, seed=1) != simulate(server, 50, 1000, seed=2)


def test_what_is_sustained_is_just_within_the_target() -> None:
    server = process({1: [0.010], 32: [0.020]})
    rate = sustained(server, 0.05, 5000)
    assert 0 < rate < server.capacity
    assert simulate(server, rate, 5000).p99 <= 0.05
    assert sustained(server, 0.001, 1000) == 0


def test_the_busiest_process_has_more_than_its_share_where_connections_stay() -> None:
    assert busiest(1, 10) == 1
    assert busiest(100, 100) > busiest(100, 1000) > busiest(100, 100_000) > 1


def test_percentiles_are_of_the_calls() -> None:
    assert Latency.of([float(n) for n in range(100, 0, -1)]) == Latency(51.0, 100.0)


@pytest.mark.parametrize("max_size", [16, 32, 64])
def test_up_to_three_quarters_of_its_rate_a_call_takes_two_full_batches_at_most(
    max_size: int,
) -> None:
    # As docs/scaling.md says of a model that takes 40 ms, and 2 ms for each row.
    server = process({1: [0.042], 64: [0.168]}, max_size)
    found = simulate(server, 0.75 * server.capacity, 20_000)
    assert found.p99 < 2 * max_size / server.capacity
