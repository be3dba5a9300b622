"""Rows of many requests in one array, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc import InferenceError
from blazerpc.runtime.rows import Arrays, merged, split

#: Rows of each request.
counts_of_requests = st.lists(st.integers(0, 9), min_size=1, max_size=20)


def request(first: int, rows: int) -> dict[str, npt.NDArray[Any]]:
    """Return a request whose rows are numbered from ``first``."""
    numbers = np.arange(first, first + rows)
    arrays: dict[str, npt.NDArray[Any]] = {
        "x": np.stack([numbers, -numbers], axis=1).astype(np.float32),
        "name": np.array([str(number) for number in numbers], dtype=np.str_),
    }
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def requests_of(counts: list[int]) -> list[dict[str, npt.NDArray[Any]]]:
    firsts = [sum(counts[:index]) for index in range(len(counts))]
    return [request(first, rows) for first, rows in zip(firsts, counts, strict=True)]


@given(counts_of_requests)
def test_each_request_gets_exactly_its_own_rows_in_order(counts: list[int]) -> None:
    requests = requests_of(counts)
    together = merged(requests)
    for name in ("x", "name"):
        results = split(together[name], counts, "m")
        assert len(results) == len(requests)
        for result, alone in zip(results, requests, strict=True):
            assert isinstance(result, np.ndarray)
            np.testing.assert_array_equal(result, alone[name])


@given(counts_of_requests.filter(lambda counts: len(counts) > 1))
def test_a_merged_array_is_one_read_only_array_of_all_rows(counts: list[int]) -> None:
    for array in merged(requests_of(counts)).values():
        assert len(array) == sum(counts)
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[...] = array


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_lone_request_is_passed_on_without_a_copy(rows: int) -> None:
    alone = request(0, rows)
    together: Arrays = merged([alone])
    assert together["x"] is alone["x"]
    if rows:
        assert np.shares_memory(together["x"], alone["x"])


def test_the_dtype_and_the_longest_text_are_kept() -> None:
    together = merged([request(5, 1), request(12345, 1)])
    assert together["x"].dtype == np.float32
    assert together["name"].tolist() == ["5", "12345"]


@given(counts_of_requests.filter(lambda counts: len(counts) > 1 and sum(counts) > 0))
def test_each_requests_rows_of_a_result_are_a_view(counts: list[int]) -> None:
    result = np.zeros((sum(counts), 3))
    for own, count in zip(split(result, counts, "m"), counts, strict=True):
        assert isinstance(own, np.ndarray)
        assert own.base is result
        assert own.shape == (count, 3)
        assert not count or np.shares_memory(own, result)


def test_the_result_of_a_lone_request_is_passed_on_whatever_it_is() -> None:
    # What is wrong with it, its encoder says better.
    result = object()
    assert split(result, [3], "m") == [result]


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (np.zeros(4), "4 rows"),
        (np.zeros(6), "6 rows"),
        (np.zeros((0, 5)), "0 rows"),
        (np.float32(5), "float32"),
        (np.array(5.0), "ndarray"),
        ([1, 2, 3, 4, 5], "list"),
        (None, "NoneType"),
    ],
)
def test_rows_that_do_not_add_up_are_the_models_failure(result: object, got: str) -> None:
    with pytest.raises(InferenceError) as caught:
        split(result, [2, 0, 3], "digits")
    assert str(caught.value) == f"model 'digits' returned {got} for a batch of 5 rows"
    assert caught.value.model_name == "digits"
