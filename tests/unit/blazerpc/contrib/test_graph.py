from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from blazerpc.contrib.graph import Axis, field_names, outputs_class, symbolic_shapes
from blazerpc.types import _TensorType


@pytest.mark.parametrize(
    ("names", "fields"),
    [
        (["x", "input_ids"], ["x", "input_ids"]),
        (["input.1", "onnx::Gemm_0", "/fc/Out"], ["input_1", "onnx_Gemm_0", "fc_Out"]),
        (["0", "_", "größe", ""], ["x_0", "x", "gr_e", "x_2"]),
        (["class", "DESCRIPTOR", "SerializeToString"], None),
        (["a.b", "a-b", "a_b", "aB"], ["a_b", "a_b_2", "a_b_3", "aB_4"]),
        (["x_2", "x", "x."], ["x_2", "x", "x_3"]),
    ],
)
def test_names_of_a_graph_become_names_of_fields(
    names: list[str], fields: list[str] | None
) -> None:
    expected = [f"{name}_" for name in names] if fields is None else fields
    assert field_names(names) == expected


@pytest.mark.parametrize(
    ("inputs", "output", "expected"),
    [
        ({"x": (None, 64)}, (None, 10), {"x": ("batch", 64), "y": ("batch", 10)}),
        ({"x": ("N", 64)}, (None,), {"x": ("batch", 64), "y": ("batch",)}),
        ({"x": ("batch", "seq")}, ("batch", "seq"), {"x": ("batch", "seq"), "y": ("batch", "seq")}),
        (
            {"x": ("N", "a+b"), "z": ("N", "a_b")},
            ("N",),
            {"x": ("batch", "a_b"), "z": ("batch", "a_b_2"), "y": ("batch",)},
        ),
        ({"x": (None, None, None)}, (None,), {"x": ("batch", "x_1", "x_2"), "y": ("batch",)}),
        ({"x": (None, None)}, (None, 3, 0), {"x": ("batch", "x_1"), "y": ("batch", 3, 0)}),
        # Not by row: another axis is the rows too, or may be.
        (
            {"x": ("batch", 2)},
            ("batch", "batch"),
            {"x": ("batch_size", 2), "y": ("batch_size",) * 2},
        ),
        ({"x": (None, 2)}, (None, None), {"x": ("x_0", 2), "y": ("y_0", "y_1")}),
        ({"x": ("n", 2)}, ("n", "m"), {"x": ("n", 2), "y": ("n", "m")}),
        # Not by row: first axes differ, are fixed, or are not there.
        ({"x": ("a", 2), "z": ("b", 2)}, ("a", 1), {"x": ("a", 2), "z": ("b", 2), "y": ("a", 1)}),
        ({"x": ("batch", 2), "z": (1,)}, ("batch",), None),
        ({"x": ("batch", 2)}, (), {"x": ("batch_size", 2), "y": ()}),
        ({"x": ("1st axis",)}, ("?",), {"x": ("dim_1st_axis",), "y": ("dim",)}),
    ],
)
def test_axes_without_a_size_become_symbolic_dimensions(
    inputs: dict[str, tuple[Axis, ...]],
    output: tuple[Axis, ...],
    expected: dict[str, tuple[int | str, ...]] | None,
) -> None:
    expected = expected or {"x": ("batch_size", 2), "z": (1,), "y": ("batch_size",)}
    assert symbolic_shapes(inputs, {"y": output}) == expected


def test_outputs_that_were_pickled_are_of_the_class_that_there_is() -> None:
    fields = {
        "label": _TensorType(np.int64, ("batch",), is_input=False),
        "score": _TensorType(np.float32, ("batch",), is_input=False),
    }
    kind: Any = outputs_class("Outputs", fields)
    made = kind(np.arange(3), np.ones(3, np.float32))
    received = pickle.loads(pickle.dumps(made))
    assert isinstance(received, kind)
    assert kind is outputs_class("Outputs", dict(fields))
    assert kind is not outputs_class("Others", fields)
    np.testing.assert_array_equal(received.label, made.label)
    np.testing.assert_array_equal(received.score, made.score)
