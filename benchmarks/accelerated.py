"""Two batched models that benchmarks/capacity.py measures: one computes, one waits."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt

from benchmarks.mlp import LAYERS, Perceptron
from blazerpc import BlazeApp, TensorInput, TensorOutput

app = BlazeApp("capacity", max_batch_size=32, batch_timeout_ms=10.0)

perceptron = Perceptron(LAYERS["deep"])


@app.model("perceptron")
def predict_on_core(
    x: TensorInput[npt.NDArray[np.float32], "batch", 64],
) -> TensorOutput[npt.NDArray[np.float32], "batch", 10]:
    """Run on a core, which requests and answers are handled on as well."""
    return perceptron(x)


@app.model("accelerator")
def predict_elsewhere(
    x: TensorInput[npt.NDArray[np.float32], "batch", 64],
) -> TensorOutput[npt.NDArray[np.float32], "batch", 10]:
    """Wait, as for an accelerator that takes 40 ms for a batch and 2 ms for each row of it."""
    time.sleep(0.040 + 0.002 * len(x))
    return np.zeros((len(x), 10), np.float32)
