"""What type checkers know of models of frameworks: a decorator leaves a type as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, assert_type

import numpy as np
import numpy.typing as npt
import torch

from blazerpc import BlazeApp, Tensor, TensorInput, TensorOutput
from blazerpc.contrib import ONNXModel, numpy_to_torch, torch_device, torch_model, torch_to_numpy

app = BlazeApp()
Rows = Annotated[torch.Tensor, Tensor("batch", 4, dtype=np.float32)]


@app.model("tensors")
@torch_model(device="auto", dtype=torch.bfloat16)
def of_tensors(x: Rows) -> Rows:
    assert_type(x, torch.Tensor)
    return x.relu()


@app.model("arrays")
@torch_model
def of_arrays(
    x: TensorInput[npt.NDArray[np.float32], "batch", 4],
) -> TensorOutput[npt.NDArray[np.float32], "batch", 4]:
    return x


@torch_model
async def coroutine(x: Rows) -> Rows:
    return x


@torch_model(inference_mode=False)
def stream(x: Rows) -> Iterator[Rows]:
    yield x


@torch_model
async def async_stream(x: Rows) -> AsyncIterator[Rows]:
    yield x


@app.model("class")
@torch_model
class Doubled:
    def __call__(self, x: Rows) -> Rows:
        return x * 2


array = np.zeros((1, 4), np.float32)
tensor = numpy_to_torch(array, device="auto")
assert_type(tensor, torch.Tensor)
assert_type(of_tensors(tensor), torch.Tensor)
assert_type(of_arrays(array), npt.NDArray[np.float32])
assert_type(stream(tensor), Iterator[torch.Tensor])
assert_type(async_stream(tensor), AsyncIterator[torch.Tensor])
assert_type(Doubled()(tensor), torch.Tensor)
assert_type(torch_device(), torch.device)
of_tensors(array)  # E: Argument 1 to "of_tensors" has incompatible type
torch_to_numpy(array)  # E: Argument 1 to "torch_to_numpy" has incompatible type
torch_model(device=3)  # E: No overload variant of "torch_model"
torch_model(dtype="float32")  # E: No overload variant of "torch_model"
Tensor("batch", dtype="float32")  # E: Argument "dtype" to "Tensor" has incompatible type
app.add_onnx("m", "m.onnx", max_batch_size="many")  # E: Argument "max_batch_size" to "add_onnx"
app.add_onnx("m", "m.onnx", batch=True)  # E: Unexpected keyword argument "batch" for "add_onnx"
app.add_sklearn("m", object(), method="predict", enable_batching=False)
assert_type(ONNXModel("m.onnx").input_names, list[str])


async def call() -> None:
    assert_type(await coroutine(tensor), torch.Tensor)
