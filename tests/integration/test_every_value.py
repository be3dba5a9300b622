"""Any value of any type survives client -> server -> client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.apps.echo import DTYPES, SCALARS
from tests.conftest import StartServer
from tests.integration.conftest import generated

# Loop and server are shared on purpose: it is one server that must stand all values.
many = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

text = st.text(st.characters(exclude_categories=["Cs"]))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": text,
    "int": st.integers(-(1 << 63), (1 << 63) - 1),
    "float": st.floats(width=32),
    "bool": st.booleans(),
    "bytes": st.binary(),
    "np_float32": st.floats(width=32),
    "np_float64": st.floats(),
    "np_int32": st.integers(-(1 << 31), (1 << 31) - 1),
    "np_int64": st.integers(-(1 << 63), (1 << 63) - 1),
    "np_uint32": st.integers(0, (1 << 32) - 1),
    "np_uint64": st.integers(0, (1 << 64) - 1),
    "np_bool": st.booleans(),
}


class Client:
    """A generated client, called by the name of a model."""

    def __init__(self, client: Any, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def call(self, model: str, value: object) -> Any:
        method = getattr(self._client, f"predict_{model}")
        return self._runner.run(method(value=value))

    def stream(self, model: str, value: object, count: int) -> list[Any]:
        method = getattr(self._client, f"predict_{model}")

        async def collect(items: AsyncIterator[Any]) -> list[Any]:
            return [item async for item in items]

        return self._runner.run(collect(method(value=value, count=count)))


@pytest.fixture(scope="module")
def client(
    start_module_server: StartServer,
    runner: asyncio.Runner,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Client]:
    server = start_module_server("tests.apps.echo:app")
    package = generated(server, tmp_path_factory.mktemp("clients"), "echo_client")
    client = package.InferenceClient(server.target)
    yield Client(client, runner)
    runner.run(client.close())


def _same(left: object, right: object) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        # -0.0 is not 0.0 here, and NaN is NaN.
        same_sign = math.copysign(1, left) == math.copysign(1, right)
        return (left == right and same_sign) or (math.isnan(left) and math.isnan(right))
    return type(left) is type(right) and left == right


@pytest.mark.parametrize("kind", SCALARS)
@many
@given(data=st.data())
def test_scalars(client: Client, kind: str, data: st.DataObject) -> None:
    value = data.draw(VALUES[kind])
    assert _same(client.call(kind, value), value)


@pytest.mark.parametrize("kind", SCALARS)
@many
@given(data=st.data())
def test_lists(client: Client, kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(VALUES[kind], max_size=20))
    result = client.call(f"list_{kind}", values)
    assert len(result) == len(values)
    assert all(map(_same, result, values))


@pytest.mark.parametrize("kind", SCALARS)
@many
@given(data=st.data())
def test_what_may_be_absent(client: Client, kind: str, data: st.DataObject) -> None:
    # Zero and empty are values here, and not absent.
    value = data.draw(st.none() | VALUES[kind])
    assert _same(client.call(f"optional_{kind}", value), value)


@pytest.mark.parametrize("kind", SCALARS)
@many
@given(data=st.data(), count=st.integers(0, 5))
def test_streams(client: Client, kind: str, data: st.DataObject, count: int) -> None:
    value = data.draw(VALUES[kind])
    results = client.stream(f"stream_{kind}", value, count)
    assert len(results) == count
    assert all(_same(result, value) for result in results)


def arrays(dtype: type[np.generic], dimensions: int) -> st.SearchStrategy[npt.NDArray[Any]]:
    shapes = hnp.array_shapes(min_dims=dimensions, max_dims=dimensions, min_side=0, max_side=5)
    shape: st.SearchStrategy[tuple[int, ...]] = shapes if dimensions else st.just(())
    kind = np.dtype(dtype).kind
    if kind == "U":
        # NumPy itself drops trailing NULs; such an element cannot be made.
        elements: Any = text.map(lambda value: value[:8].rstrip("\0"))
        return hnp.arrays(np.dtype("U8"), shape, elements=elements)
    if kind == "S":
        return hnp.arrays(np.dtype("S8"), shape)
    if kind == "V":  # bfloat16, which hypothesis does not know
        return hnp.arrays(np.float32, shape).map(lambda array: array.astype(dtype))
    return hnp.arrays(dtype, shape)


def _assert_same_arrays(result: object, array: npt.NDArray[Any]) -> None:
    assert isinstance(result, np.ndarray)
    assert result.shape == array.shape
    if array.dtype.kind in "US":
        assert result.dtype.kind == array.dtype.kind
        assert result.tolist() == array.tolist()
    else:
        assert result.dtype == array.dtype
        assert result.tobytes() == array.tobytes()


@pytest.mark.parametrize("kind", DTYPES)
@many
@given(data=st.data())
def test_tensors(client: Client, kind: str, data: st.DataObject) -> None:
    array = data.draw(arrays(DTYPES[kind], 2))
    _assert_same_arrays(client.call(f"tensor_{kind}", array), array)


@pytest.mark.parametrize("kind", DTYPES)
@many
@given(data=st.data())
def test_tensors_without_dimensions(client: Client, kind: str, data: st.DataObject) -> None:
    array = data.draw(arrays(DTYPES[kind], 0))
    _assert_same_arrays(client.call(f"scalar_tensor_{kind}", array), array)


@pytest.mark.parametrize("kind", DTYPES)
def test_tensors_that_may_be_absent(client: Client, kind: str) -> None:
    assert client.call(f"optional_tensor_{kind}", None) is None
    empty = np.empty(0, DTYPES[kind])
    _assert_same_arrays(client.call(f"optional_tensor_{kind}", empty), empty)


@pytest.mark.parametrize("kind", DTYPES)
@many
@given(data=st.data())
def test_streams_of_tensors(client: Client, kind: str, data: st.DataObject) -> None:
    array = data.draw(arrays(DTYPES[kind], 2))
    for result in client.stream(f"stream_tensor_{kind}", array, 2):
        _assert_same_arrays(result, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.float32).reshape(3, 4)[::-1, ::2],
        np.arange(12, dtype=">f4").reshape(3, 4),
        np.broadcast_to(np.float32(1), (3, 4)),
    ],
    ids=["transposed", "strided", "big-endian", "broadcast"],
)
def test_memory_layout_does_not_matter(client: Client, array: npt.NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(client.call("tensor_float", array), array)


def test_a_large_tensor_survives(client: Client) -> None:
    array = np.random.default_rng(0).random((2000, 500), np.float32)
    np.testing.assert_array_equal(client.call("tensor_float", array), array)
