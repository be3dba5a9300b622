"""What is said without a framework, and that nobody loads one unasked."""

from __future__ import annotations

import subprocess
import sys

import pytest

FRAMEWORKS = ("torch", "onnxruntime", "sklearn", "tensorflow")

# None in sys.modules is what Python takes for a package that is not there.
WITHOUT = f"""
import sys
sys.modules.update(dict.fromkeys({FRAMEWORKS}))
from blazerpc import BlazeApp
"""


def last_line_of(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT + code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "framework", "extra"),
    [
        ("import blazerpc.contrib.pytorch", "PyTorch", "pytorch"),
        ("from blazerpc.contrib import torch_model", "PyTorch", "pytorch"),
        ("import blazerpc.contrib.onnx", "ONNX Runtime", "onnx"),
        ("BlazeApp().add_onnx('m', 'm.onnx')", "ONNX Runtime", "onnx"),
        ("import blazerpc.contrib.sklearn", "scikit-learn", "sklearn"),
        ("BlazeApp().add_sklearn('m', None)", "scikit-learn", "sklearn"),
        ("import blazerpc.contrib.tensorflow", "TensorFlow", "tensorflow"),
    ],
)
def test_a_missing_framework_is_named_with_its_extra(code: str, framework: str, extra: str) -> None:
    said = last_line_of(code)
    assert said.startswith(f"ModuleNotFoundError: {framework} is not installed (")
    assert said.endswith(f"; pip install 'blazerpc[{extra}]'")


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    said = last_line_of("import blazerpc.contrib as contrib; contrib.jax_model")
    assert said == "AttributeError: module 'blazerpc.contrib' has no attribute 'jax_model'"


def test_no_framework_is_loaded_unasked() -> None:
    code = f"""
import sys
import blazerpc.cli.main, blazerpc.contrib
print(sorted(set({FRAMEWORKS}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
