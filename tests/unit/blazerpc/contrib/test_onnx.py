from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from blazerpc import BlazeApp, ConfigurationError, ValidationError
from blazerpc.contrib import ONNXModel
from blazerpc.runtime.model import Batching
from blazerpc_client import Internal, InvalidArgument
from tests.unit.blazerpc.contrib.arrays import COMMON_DTYPES
from tests.unit.blazerpc.support import client_of, serving

#: ONNX's number of the element type, and the shape.
Tensors = Mapping[str, tuple[int, Sequence[int | str | None]]]

DTYPES = [*COMMON_DTYPES, np.str_]


def written(
    path: Path,
    nodes: Sequence[tuple[str, list[str], list[str]]],
    inputs: Tensors,
    outputs: Tensors,
    doc: str = "",
) -> Path:
    """Write a graph of operators, each with the names of its inputs and outputs."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(kind, given, made) for kind, given, made in nodes],
        "graph",
        [info(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
        [info(name, dtype, shape) for name, (dtype, shape) in outputs.items()],
        doc_string=doc,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    return path


def sums(path: Path) -> Path:
    """Write a graph with two inputs and two outputs, whose names are those of an exporter."""
    rows = (int(TensorProto.FLOAT), ("N", 2))
    return written(
        path / "sums.onnx",
        [("Add", ["input.1", "input.2"], ["/fc/sum"]), ("Neg", ["/fc/sum"], ["negated"])],
        {"input.1": rows, "input.2": rows},
        {"/fc/sum": rows, "negated": rows},
        doc="Add rows.",
    )


A, B = np.array([[1, 2]], np.float32), np.array([[3, 5]], np.float32)


def test_a_model_predicts_by_position_and_by_name(tmp_path: Path) -> None:
    model = ONNXModel(sums(tmp_path))
    assert model.input_names == ["input.1", "input.2"]
    assert model.output_names == ["/fc/sum", "negated"]
    assert [array.tolist() for array in model.predict(A, B)] == [[[4, 7]], [[-4, -7]]]
    by_name = model.predict_dict({"input.2": B, "input.1": A})
    assert {name: array.tolist() for name, array in by_name.items()} == {
        "/fc/sum": [[4, 7]],
        "negated": [[-4, -7]],
    }
    with pytest.raises(ValueError, match=r"has 2 inputs \(input.1, input.2\), got 1"):
        model.predict(A)


async def test_several_outputs_are_a_dataclass_with_their_names(tmp_path: Path) -> None:
    app = BlazeApp()
    app.add_onnx("sums", str(sums(tmp_path)), "2")
    model = app.registry.get("sums", "2")
    assert {name: str(row) for name, row in model.parameters.items()} == {
        "input_1": "float32 (batch, 2)",
        "input_2": "float32 (batch, 2)",
    }
    assert str(model.result) == "SumsV2Outputs"
    assert model.doc == (
        "Add rows.\n\n"
        "``input_1`` is ``input.1`` in the graph.\n"
        "``input_2`` is ``input.2`` in the graph.\n"
        "``fc_sum`` is ``/fc/sum`` in the graph."
    )
    async with serving(app) as run, client_of(app, run) as client:
        result: Any = await client.predict("sums:2", input_1=A, input_2=B)
        assert result["fc_sum"].tolist() == [[4, 7]]
        assert result["negated"].tolist() == [[-4, -7]]
        with pytest.raises(InvalidArgument, match="dimension 'batch' is 1 here, 2 earlier"):
            await client.predict("sums:2", input_1=np.concatenate([A, A]), input_2=B)


async def test_one_output_is_an_array_and_its_rows_are_batched(tmp_path: Path) -> None:
    app = BlazeApp()
    app.add_onnx("sums", sums(tmp_path), outputs=["negated"], max_batch_size=7)
    model = app.registry.get("sums")
    assert str(model.result) == "float32 (batch, 2)"
    assert model.batching is Batching.ROWS
    assert model.options.max_batch_size == 7
    async with serving(app) as run, client_of(app, run) as client:
        calls = [client.predict("sums", input_1=A * n, input_2=B) for n in range(20)]
        rows: list[Any] = await asyncio.gather(*calls)
        nothing: Any = await client.predict("sums", input_1=A[:0], input_2=B[:0])
    assert [row.tolist() for row in rows] == [(-(A * n + B)).tolist() for n in range(20)]
    assert nothing.shape == (0, 2)


@pytest.mark.parametrize("dtype", DTYPES)
async def test_every_dtype_is_served(dtype: type[np.generic], tmp_path: Path) -> None:
    of_onnx = helper.np_dtype_to_tensor_dtype(np.dtype(object if dtype is np.str_ else dtype))
    tensor = (int(of_onnx), ("N", 2))
    path = written(
        tmp_path / "same.onnx", [("Identity", ["x"], ["y"])], {"x": tensor}, {"y": tensor}
    )
    app = BlazeApp()
    app.add_onnx("same", path)
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    async with serving(app) as run, client_of(app, run) as client:
        result: Any = await client.predict("same", x=array)
    assert result.dtype.type is dtype
    np.testing.assert_array_equal(result, array)


async def test_distances_of_all_pairs_are_not_batched(tmp_path: Path) -> None:
    path = written(
        tmp_path / "pairs.onnx",
        [("Transpose", ["x"], ["t"]), ("MatMul", ["x", "t"], ["y"])],
        {"x": (TensorProto.FLOAT, ["batch", 2])},
        {"y": (TensorProto.FLOAT, ["batch", "batch"])},
    )
    app = BlazeApp()
    app.add_onnx("pairs", path)
    assert app.registry.get("pairs").batching is Batching.NONE
    async with serving(app) as run, client_of(app, run) as client:
        calls = [client.predict("pairs", x=np.ones((n, 2), np.float32)) for n in range(1, 5)]
        results: list[Any] = await asyncio.gather(*calls)
    assert [result.shape for result in results] == [(n, n) for n in range(1, 5)]


async def test_what_the_graph_refuses_is_a_failure_without_its_text(tmp_path: Path) -> None:
    path = written(
        tmp_path / "add.onnx",
        [("Add", ["a", "b"], ["y"])],
        {"a": (TensorProto.FLOAT, ["n"]), "b": (TensorProto.FLOAT, ["m"])},
        {"y": (TensorProto.FLOAT, ["k"])},
    )
    app = BlazeApp()
    app.add_onnx("add", path)
    async with serving(app) as run, client_of(app, run) as client:
        with pytest.raises(Internal) as caught:
            await client.predict("add", a=np.ones(2, np.float32), b=np.ones(3, np.float32))
    assert "ONNXRuntime" not in caught.value.message


def test_types_that_cannot_be_served_are_refused_with_the_mend(tmp_path: Path) -> None:
    app = BlazeApp()
    tensor = (int(TensorProto.BFLOAT16), ("N",))
    path = written(tmp_path / "b.onnx", [("Identity", ["x"], ["y"])], {"x": tensor}, {"y": tensor})
    with pytest.raises(
        ValidationError, match=r"model 'm': 'x' in b.onnx is a tensor\(bfloat16\), which cannot be"
    ):
        app.add_onnx("m", path)
    # Why it is refused; when this passes, it need not be.
    with pytest.raises(RuntimeError, match="can't be converted"):
        ONNXModel(path).predict(np.ones(1, ml_dtypes.bfloat16))
    node = helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    kind = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_value_info("y", helper.make_sequence_type_proto(kind))],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
    path = tmp_path / "zip.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path))
    with pytest.raises(ValidationError, match=r"exports a tensor with options=\{'zipmap': False\}"):
        app.add_onnx("m", path)
    assert app.registry.list_models() == []


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    app = BlazeApp()
    with pytest.raises(ConfigurationError, match=r"/no\.onnx cannot be loaded: .*doesn't exist"):
        app.add_onnx("m", tmp_path / "no.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ConfigurationError, match=r"/text\.onnx cannot be loaded: .*Protobuf"):
        app.add_onnx("m", tmp_path / "text.onnx")
    path = sums(tmp_path)
    with pytest.raises(ConfigurationError, match=r"has no provider 'TPU' here; it has .*CPU"):
        app.add_onnx("m", path, providers=["TPU", "CPUExecutionProvider"])
    with pytest.raises(
        ValidationError, match=r"model 'm': sums.onnx has no output 'sum'; it has /fc/sum, negated"
    ):
        app.add_onnx("m", path, outputs=["sum"])
    with pytest.raises(ValidationError, match="model 'm': no outputs"):
        app.add_onnx("m", path, outputs=[])
    with pytest.raises(ConfigurationError, match="max_batch_size is 0"):
        app.add_onnx("m", path, max_batch_size=0)


def test_options_of_the_session_are_taken(tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ONNXModel(sums(tmp_path), session_options=options)
    assert (tmp_path / "optimized.onnx").exists()
