"""Write digits.onnx: handwritten digits, learned with scikit-learn, exported with skl2onnx."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MODEL: Final = Path(__file__).with_name("digits.onnx")


def export(path: Path) -> None:
    """Train on three quarters of the images, as ``examples.digits`` does, and write the graph."""
    data: Any = load_digits()
    images = data.data.astype(np.float32)
    split = train_test_split(images, data.target, random_state=0, stratify=data.target)
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    estimator.fit(split[0], split[2])
    # Without the option the probabilities are a list of dicts, which no tensor can be.
    graph = to_onnx(estimator, images[:1], options={"zipmap": False})
    path.write_bytes(graph.SerializeToString())


if __name__ == "__main__":
    export(Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL)
