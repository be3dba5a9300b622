"""What every type checker knows of a server's code without any plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Annotated, Any, assert_type

import numpy as np
import numpy.typing as npt

from blazerpc import BlazeApp, Tensor, TensorInput, TensorOutput

app = BlazeApp()
Images = Annotated[npt.NDArray[np.uint8], Tensor("batch", 28, 28)]


@app.model("matrix")
def matrix(
    x: TensorInput[npt.NDArray[np.float32], "batch", 4],
    y: Annotated[npt.NDArray[np.int8], Tensor("batch")],
    images: Images,
    z: TensorInput[npt.NDArray[np.float32], "batch"] | None = None,
) -> TensorOutput[npt.NDArray[np.float64], "batch"]:
    assert_type(x, npt.NDArray[np.float32])
    assert_type(y, npt.NDArray[np.int8])
    assert_type(images, npt.NDArray[np.uint8])
    assert_type(z, npt.NDArray[np.float32] | None)
    return x  # E: Incompatible return value type


@app.model("text")
async def text(value: str) -> float:
    return value  # E: Incompatible return value type


@app.model("stream")
async def stream(value: str) -> AsyncIterator[str]:
    yield value


@app.model("items")
def items(value: str) -> Iterator[Annotated[npt.NDArray[np.uint8], Tensor("n")]]:
    yield np.frombuffer(value.encode(), np.uint8)


# The decorator gives back the function it got.
callback: Callable[[str], Coroutine[Any, Any, float]] = text
assert_type(stream("great"), AsyncIterator[str])
assert_type(items("great"), Iterator[npt.NDArray[np.uint8]])
floats: npt.NDArray[np.float32] = np.zeros((2, 4), np.float32)
integers: npt.NDArray[np.int8] = np.zeros(2, np.int8)
pictures: npt.NDArray[np.uint8] = np.zeros((2, 28, 28), np.uint8)
assert_type(matrix(floats, integers, pictures), npt.NDArray[np.float64])
matrix(floats, floats, pictures)  # E: Argument 2 to "matrix"
matrix(floats, integers)  # E: Missing positional argument "images"
matrix(floats, integers, [1, 2])  # E: Argument 3 to "matrix"


async def call() -> None:
    assert_type(await text("great"), float)
    await text(3)  # E: Argument 1 to "text"
    await text(text="great")  # E: Unexpected keyword argument


Tensor("batch", 1.5)  # E: Argument 2 to "Tensor"
app.model(3)  # E: Argument 1 to "model"
app.model()  # E: Missing positional argument "name"
app.model("a", version=2)  # E: Argument "version" to "model"
app.model("a", unknown=True)  # E: Unexpected keyword argument "unknown"
app.model("a")(3)  # E: cannot be "int"
BlazeApp(max_batch_size="many")  # E: Argument "max_batch_size"
app.registry.get(1)  # E: Argument 1 to "get"
