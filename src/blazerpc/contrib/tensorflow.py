"""Models of TensorFlow: tensors in the function, arrays for everybody else.

    @app.model("digits")
    @tf_model
    def digits(
        x: Annotated[tf.Tensor, Tensor("batch", 64, dtype=np.float32)],
    ) -> Annotated[tf.Tensor, Tensor("batch", 10, dtype=np.float32)]:
        return network(x)

Annotated so, the function is to a type checker what it is: it takes and gives tensors, for its body
and for those who call it in Python. Its schema and its clients have arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from blazerpc.contrib.bridge import Bridge, bridged
from blazerpc.contrib.missing import missing
from blazerpc.exceptions import SerializationError

try:
    import tensorflow as tf
except ModuleNotFoundError as _error:
    raise missing(_error, "TensorFlow", "tensorflow") from _error

__all__ = ["numpy_to_tf", "tf_model", "tf_to_numpy"]

F = TypeVar("F", bound=Callable[..., object])


@overload
def tf_model(target: None = None, *, dtype: tf.DType | None = None) -> Callable[[F], F]: ...
@overload
def tf_model(target: F, *, dtype: tf.DType | None = None) -> F: ...
def tf_model(target: F | None = None, *, dtype: tf.DType | None = None) -> F | Callable[[F], F]:
    """Give a function tensors for its array parameters, and a server arrays for its results.

    It goes between ``@app.model`` and a function of any kind, a method, or a class with
    ``__call__``. Tensors in lists and dicts are converted, in dataclasses they are not. Whoever
    calls the function in Python may give arrays or tensors, and gets what its result is annotated
    as: tensors for ``tf.Tensor``, else arrays. TensorFlow places tensors on devices itself.

    Args:
        target: what is decorated, when it is without parentheses.
        dtype: that floating-point arrays get; their own, when it is None. Results come back in the
            dtype of their annotation.
    """
    bridge = _TensorFlow(dtype)
    if target is None:
        return lambda function: bridged(function, bridge)
    return bridged(target, bridge)


def numpy_to_tf(array: npt.NDArray[Any], dtype: tf.DType | None = None) -> tf.Tensor:
    """Return an array as a tensor: a copy.

    Args:
        array: of numbers, booleans, bfloat16 of ml_dtypes, text or bytes.
        dtype: of the tensor; that of the array when it is None.

    Raises:
        TypeError: when it is no array.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected an array, got {type(array).__name__}")
    tensor = tf.convert_to_tensor(array)
    return tensor if dtype is None else tf.cast(tensor, dtype)


def tf_to_numpy(tensor: tf.Tensor) -> npt.NDArray[Any]:
    """Return a tensor or variable as an array; text becomes an array of bytes, as it is there.

    Raises:
        TypeError: when it is none, or has no value yet, as in a ``tf.function``.
        SerializationError: for bytes that NumPy cannot hold.
    """
    if not tf.is_tensor(tensor) or not hasattr(tensor, "numpy"):
        raise TypeError(f"expected a tf.Tensor with a value, got {type(tensor).__name__}")
    array = np.asarray(tensor.numpy())
    if array.dtype.kind != "O":
        return array
    if any(element.endswith(b"\0") for element in array.flat):
        # NumPy pads its fixed-width elements with NULs and would drop these without a word.
        raise SerializationError("NumPy cannot hold an element that ends in a NUL", dtype="bytes")
    return array.astype(np.bytes_)


class _TensorFlow(Bridge):
    """Between arrays and TensorFlow's tensors."""

    def __init__(self, dtype: tf.DType | None) -> None:
        super().__init__(tf.Tensor)
        self._dtype = dtype

    def load(self, value: object) -> object:
        if isinstance(value, np.ndarray):
            value = numpy_to_tf(value)
        if self._dtype is not None and isinstance(value, tf.Tensor) and value.dtype.is_floating:
            return tf.cast(value, self._dtype)
        return value

    def dump(self, value: object, dtype: np.dtype[Any] | None) -> object:
        if not isinstance(value, tf.Tensor | tf.Variable):
            return value
        if self._dtype is not None and value.dtype == self._dtype and dtype is not None:
            value = tf.cast(value, tf.as_dtype(dtype))
        array = tf_to_numpy(value)
        if dtype is not None and dtype.kind == "U" and array.dtype.kind == "S":
            return np.char.decode(array, "utf-8")
        return array
