"""A model's arguments and result to bytes and back, beside the same by hand with protobuf alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import reference
from benchmarks.app import app
from blazerpc.codegen.schema import method_full_name
from blazerpc.runtime.serialization import ModelCodec
from blazerpc_client.schema import UnaryMethod

ARRAYS = {"4 KiB": np.ones(1 << 10, np.float32), "4 MiB": np.ones(1 << 20, np.float32)}
arrays = pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)

MODEL = app.registry.get("tensor")
METHOD = UnaryMethod[npt.NDArray[np.float32]](reference.SCHEMA, method_full_name(MODEL))
SERVER = ModelCodec(MODEL, reference.SCHEMA, method_full_name(MODEL))
TEXT = app.registry.get("text")
TEXT_METHOD = UnaryMethod[str](reference.SCHEMA, method_full_name(TEXT))


def by_hand(array: npt.NDArray[np.float32]) -> Any:
    request = reference.TensorRequest()
    reference.pack(request.value, array)
    return request


@arrays
def test_client_writes_a_tensor(
    benchmark: BenchmarkFixture, array: npt.NDArray[np.float32]
) -> None:
    data = benchmark(lambda: METHOD.encode({"value": array}, {}).SerializeToString())
    assert data == by_hand(array).SerializeToString()


@arrays
def test_by_hand_writes_a_tensor(
    benchmark: BenchmarkFixture, array: npt.NDArray[np.float32]
) -> None:
    assert len(benchmark(lambda: by_hand(array).SerializeToString())) > array.nbytes


@arrays
def test_server_reads_a_tensor(benchmark: BenchmarkFixture, array: npt.NDArray[np.float32]) -> None:
    data = by_hand(array).SerializeToString()
    request_class = SERVER.request_class
    arguments = benchmark(lambda: SERVER.decode(request_class.FromString(data), {}))
    np.testing.assert_array_equal(arguments["value"], array)


@arrays
def test_by_hand_reads_a_tensor(
    benchmark: BenchmarkFixture, array: npt.NDArray[np.float32]
) -> None:
    data = by_hand(array).SerializeToString()
    read = benchmark(lambda: reference.unpack(reference.TensorRequest.FromString(data).value))
    np.testing.assert_array_equal(read, array)


def test_client_writes_a_text(benchmark: BenchmarkFixture) -> None:
    data = benchmark(lambda: TEXT_METHOD.encode({"value": "0123456789"}, {}).SerializeToString())
    assert data == reference.TextRequest(value="0123456789").SerializeToString()


def test_by_hand_writes_a_text(benchmark: BenchmarkFixture) -> None:
    assert benchmark(lambda: reference.TextRequest(value="0123456789").SerializeToString())
