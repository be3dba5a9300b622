from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, assert_type

import numpy as np
import numpy.typing as npt
import pytest

from blazerpc import BlazeApp, SerializationError, Tensor, TensorInput, TensorOutput
from blazerpc_client import InvalidArgument
from tests.unit.blazerpc.contrib.arrays import DTYPES, ROWS
from tests.unit.blazerpc.support import client_of, define, serving

pytest.importorskip("tensorflow", reason="`make test-tensorflow` installs TensorFlow")

import tensorflow as tf

from blazerpc.contrib import numpy_to_tf, tf_model, tf_to_numpy

pytestmark = pytest.mark.tensorflow

Row4 = Annotated[tf.Tensor, Tensor("batch", 4, dtype=np.float32)]
OneRow = Annotated[tf.Tensor, Tensor(1, 4, dtype=np.float32)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), ()])
def test_arrays_go_to_tensorflow_and_back(dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    received = np.frombuffer(array.tobytes(), array.dtype).reshape(shape)
    back = tf_to_numpy(numpy_to_tf(received))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


def test_text_comes_back_as_bytes() -> None:
    assert tf_to_numpy(numpy_to_tf(np.array(["a", "é"]))).tolist() == [b"a", "é".encode()]
    assert tf_to_numpy(numpy_to_tf(np.array([b"a", b"bc"]))).tolist() == [b"a", b"bc"]
    with pytest.raises(SerializationError, match="an element that ends in a NUL"):
        tf_to_numpy(tf.constant([b"a\0", b"b"]))


def test_variables_and_dtypes() -> None:
    assert tf_to_numpy(tf.Variable(tf.ones(1))).tolist() == [1]
    assert numpy_to_tf(ROWS, dtype=tf.bfloat16).dtype == tf.bfloat16
    assert tf_to_numpy(numpy_to_tf(ROWS.T.astype(">f4"))).tolist() == ROWS.T.tolist()


def test_what_is_none_is_refused() -> None:
    with pytest.raises(TypeError, match="expected an array, got list"):
        numpy_to_tf(define("def model(): return [1]")())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected a tf\.Tensor with a value, got ndarray"):
        tf_to_numpy(define("def model(): return np.ones(1)")())  # type: ignore[arg-type]


def test_called_in_python_a_function_gives_what_its_annotation_says() -> None:
    @tf_model
    def of_tensors(x: Row4) -> Row4:
        return x + 1

    @tf_model()
    def of_arrays(
        x: TensorInput[np.float32, "batch", 4],
    ) -> TensorOutput[np.float32, "batch", 4]:
        return x + 1

    tensor = of_tensors(tf.ones((1, 4)))
    assert_type(tensor, tf.Tensor)
    assert tf.is_tensor(tensor)
    array = of_arrays(ROWS)
    assert_type(array, npt.NDArray[np.float32])
    assert isinstance(array, np.ndarray)
    np.testing.assert_array_equal(array, ROWS + 1)


async def test_functions_of_every_kind_are_served() -> None:
    app = BlazeApp()
    layer: Any = tf.keras.layers.Dense(4, kernel_initializer="identity")

    @app.model("keras")
    @tf_model
    def keras(x: Row4) -> Row4:
        result: tf.Tensor = layer(x)
        return result

    @app.model("graph")
    @tf_model
    def graph(x: Row4) -> Row4:
        result: tf.Tensor = tf.function(lambda x: x * 2)(x)
        return result

    @app.model("async")
    @tf_model
    async def coroutine(x: Row4) -> Row4:
        await asyncio.sleep(0)
        return x * 3

    @app.model("half")
    @tf_model(dtype=tf.bfloat16)
    class Half:
        def __call__(self, x: Row4) -> Row4:
            assert x.dtype == tf.bfloat16
            return x / 2

    @app.model("stream")
    @tf_model
    def stream(x: Row4) -> Iterator[OneRow]:
        for row in range(2):
            yield x[row : row + 1]

    @app.model("async-stream")
    @tf_model
    async def async_stream(x: Row4) -> AsyncIterator[OneRow]:
        for row in range(2):
            yield x[row : row + 1]

    @app.model("text")
    @tf_model
    def text(
        words: Annotated[tf.Tensor, Tensor("n", dtype=np.str_)],
    ) -> Annotated[tf.Tensor, Tensor("n", dtype=np.str_)]:
        joined: tf.Tensor = tf.strings.join([words, "é"])
        return joined

    async with serving(app) as run, client_of(app, run) as client:
        for model, factor in (("keras", 1), ("graph", 2), ("async", 3), ("half", 0.5)):
            result: Any = await client.predict(model, x=ROWS)
            assert result.dtype == np.float32
            np.testing.assert_array_equal(result, ROWS * factor)
        for model in ("stream", "async-stream"):
            items: list[Any] = [item async for item in client.stream(model, x=ROWS)]
            np.testing.assert_array_equal(np.concatenate(items), ROWS)
        words: Any = await client.predict("text", words=np.array(["a", "ß"]))
        assert words.tolist() == ["aé", "ßé"]
        with pytest.raises(InvalidArgument, match="expected dtype float32, got float64"):
            await client.predict("graph", x=ROWS.astype(float))
