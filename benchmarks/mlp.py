"""Perceptrons of NumPy, batched and not, that benchmarks/batching.py calls."""

from __future__ import annotations

import os
from itertools import pairwise

# One thread of BLAS: the load has the other core, and a call's cost is that of its own work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt

from blazerpc import BlazeApp, TensorInput, TensorOutput

Rows = npt.NDArray[np.float32]

#: Widths of the layers. The weights of the first (4 MiB) fit into a core's cache, and a call costs
#: less than its way through a server. Those of the second (64 MiB) do not, as those of most models
#: do not: a call's cost is then that of reading them, for one row or for many.
LAYERS = {"mlp": [64, 1024, 1024, 10], "deep": [64, *[1024] * 16, 10]}


class Perceptron:
    """Dense layers with a rectifier between them."""

    def __init__(self, widths: list[int]) -> None:
        random = np.random.default_rng(0)
        self._weights = [
            random.standard_normal(shape, dtype=np.float32) / np.float32(shape[0] ** 0.5)
            for shape in pairwise(widths)
        ]

    def __call__(self, x: Rows) -> Rows:
        """Return the last layer for each row."""
        *hidden, last = self._weights
        for weights in hidden:
            x = np.maximum(x @ weights, 0)
        return x @ last


app = BlazeApp("batching")


def register(name: str, **options: float) -> None:
    """Register a perceptron under ``name`` and its options."""
    perceptron = Perceptron(LAYERS[name.partition("-")[0]])

    @app.model(name, enable_batching=bool(options), batch_timeout_ms=options.get("timeout_ms"))
    def predict(
        x: TensorInput[npt.NDArray[np.float32], "batch", 64],
    ) -> TensorOutput[npt.NDArray[np.float32], "batch", 10]:
        return perceptron(x)


for model in LAYERS:
    register(f"{model}-off")
    register(f"{model}-10ms", timeout_ms=10.0)
    register(f"{model}-100ms", timeout_ms=100.0)
