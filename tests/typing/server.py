"""What mypy, with the plugin, knows of tensor annotations and of `app.model`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Annotated, Any, Required, TypeAlias, TypedDict, assert_type

import numpy as np
import numpy.typing as npt

import blazerpc
from blazerpc import BlazeApp, Context, Depends, Tensor, TensorInput, TensorOutput

app = BlazeApp()


@app.model("matrix")
def matrix(
    x: TensorInput[np.float32, "batch", 224],
    y: TensorInput[npt.NDArray[np.int8], "batch"],
    z: Annotated[npt.NDArray[np.uint8], Tensor("batch", 4)],
    flag: TensorInput[np.bool_],
) -> TensorOutput[np.float64, "batch"]:
    assert_type(x, npt.NDArray[np.float32])
    assert_type(y, npt.NDArray[np.int8])
    assert_type(z, npt.NDArray[np.uint8])
    assert_type(flag, npt.NDArray[np.bool_])
    return x  # E: Incompatible return value type


@app.model("text")
async def text(value: str) -> float:
    return value  # E: Incompatible return value type


@app.model("stream")
async def stream(value: str) -> AsyncIterator[str]:
    yield value


@app.model("sync-stream")
def sync_stream(value: str) -> Iterator[TensorOutput[np.uint8, "n"]]:
    yield np.frombuffer(value.encode(), np.uint8)


def scale() -> Iterator[float]:
    yield 2.0


@app.model("scaled", enable_batching=False, max_queue_size=8)
class Scaled:
    def __init__(self, by: float = 1.0) -> None:
        self.by = by

    def __call__(
        self, x: TensorInput[np.float32, "batch"], ctx: Context, more: float = Depends(scale)
    ) -> TensorOutput[np.float32, "batch"]:
        assert_type(x, npt.NDArray[np.float32])
        return x * np.float32(self.by * more)


def in_quotes(
    x: "TensorInput[np.float16, 'batch']", y: blazerpc.TensorInput[np.int64, "a"]
) -> None:
    assert_type(x, npt.NDArray[np.float16])
    assert_type(y, npt.NDArray[np.int64])


def optional(x: TensorInput[np.float32, "batch"] | None) -> None:
    assert_type(x, npt.NDArray[np.float32] | None)


class Plain(TypedDict, total=False):
    """A plain Annotated is none of the plugin's business."""

    number: Annotated[Required[int], "whatever"]


def plain(x: Annotated[int, "a b", -1]) -> None:
    assert_type(x, int)


Image = TensorInput[np.float32, "height", "width"]
Images: TypeAlias = list[blazerpc.TensorInput[np.uint8, "height", 3]]
Maybe = TensorInput[npt.NDArray[np.float64], "n"] | None
Number = TensorInput[np.int8]
Wrong = TensorInput[int, "height"]  # E: int is no tensor element type
Unquoted = TensorInput[np.float32, height]  # E: put the dimension height in quotes


class Shapes:
    Rows = TensorOutput[np.bool_, "batch"]

    def check(self, rows: Rows) -> None:
        assert_type(rows, npt.NDArray[np.bool_])


def aliases(image: Image, images: Images, maybe: Maybe, number: Number) -> None:
    assert_type(image, npt.NDArray[np.float32])
    assert_type(images, list[npt.NDArray[np.uint8]])
    assert_type(maybe, npt.NDArray[np.float64] | None)
    assert_type(number, npt.NDArray[np.int8])


# The decorator gives back the function it got.
callback: Callable[[str], Coroutine[Any, Any, float]] = text
assert_type(stream("great"), AsyncIterator[str])
floats, bytes_ = np.zeros((2, 224), np.float32), np.zeros(2, np.int8)
result = matrix(floats, bytes_, np.zeros((2, 4), np.uint8), np.array(True))
assert_type(result, npt.NDArray[np.float64])
matrix(floats, floats, np.zeros((2, 4), np.uint8), np.array(True))  # E: Argument 2 to "matrix"


async def call() -> None:
    assert_type(await text("great"), float)
    await text(3)  # E: Argument 1 to "text"
    await text(text="great")  # E: Unexpected keyword argument


def bare(x: TensorInput) -> None: ...  # E: TensorInput needs an element type


def python_type(x: TensorInput[int, "batch"]) -> None: ...  # E: int is no tensor element type


def objects(x: TensorInput[np.object_, "batch"]) -> None: ...  # E: np.object_ is no tensor element


def dates(x: TensorOutput[np.datetime64, "batch"]) -> None: ...  # E: np.datetime64 is no


def number_first(x: TensorInput[3, np.float32]) -> None: ...  # E: the element type comes first


def negative(x: TensorInput[np.float32, -1]) -> None: ...  # E: -1 is no dimension


def boolean(x: TensorInput[np.float32, True]) -> None: ...  # E: True is no dimension


def sentence(x: TensorInput[np.float32, "a b"]) -> None: ...  # E: 'a b' is no dimension


def unquoted(x: TensorInput[np.float32, batch]) -> None: ...  # E: put the dimension batch in quotes


def bytes_size(x: TensorInput[np.float32, b"batch"]) -> None: ...  # E: is no dimension


Tensor("batch", 1.5)  # E: Argument 2 to "Tensor" has incompatible type "float"
app.model(3)  # E: Argument 1 to "model"
app.model("a", version=2)  # E: Argument "version" to "model"
app.model("a")(3)  # E: cannot be "int"
BlazeApp(max_batch_size="many")  # E: Argument "max_batch_size"
