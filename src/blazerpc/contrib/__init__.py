"""Models of other frameworks. Each module needs its framework, an extra of this package.

The names are imported when they are asked for: nobody loads torch to serve a model of ONNX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from blazerpc.contrib.onnx import ONNXModel
    from blazerpc.contrib.pytorch import numpy_to_torch, torch_device, torch_model, torch_to_numpy
    from blazerpc.contrib.sklearn import SklearnModel
    from blazerpc.contrib.tensorflow import numpy_to_tf, tf_model, tf_to_numpy

__all__ = [
    "ONNXModel",
    "SklearnModel",
    "numpy_to_tf",
    "numpy_to_torch",
    "tf_model",
    "tf_to_numpy",
    "torch_device",
    "torch_model",
    "torch_to_numpy",
]

_MODULES: Final = {
    "ONNXModel": "onnx",
    "SklearnModel": "sklearn",
    "numpy_to_tf": "tensorflow",
    "numpy_to_torch": "pytorch",
    "tf_model": "tensorflow",
    "tf_to_numpy": "tensorflow",
    "torch_device": "pytorch",
    "torch_model": "pytorch",
    "torch_to_numpy": "pytorch",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    return value
