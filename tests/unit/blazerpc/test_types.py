from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc import Tensor, ValidationError
from blazerpc.types import (
    DTYPE_MAP,
    MISSING,
    PYTHON_TYPE_MAP,
    TensorInput,
    TensorOutput,
    _TensorType,
    extract_type_info,
)
from tests.unit.blazerpc import support

# To a type checker TensorInput is Annotated, which takes less than the class at run time.
types: Any = importlib.import_module("blazerpc.types")

Define = Callable[[str], Callable[..., object]]


@pytest.fixture(params=[False, True], ids=["plain", "future"])
def define(request: pytest.FixtureRequest) -> Define:
    """Execute a definition of ``model``, with annotations as objects and as strings."""
    return lambda source: support.define(source, future=request.param)


def test_a_tensor_input_is_a_dtype_and_a_shape() -> None:
    tensor = types.TensorInput[np.float32, "batch", 224, 3]
    assert tensor.dtype is np.float32
    assert tensor.shape == ("batch", 224, 3)
    assert tensor.is_input
    assert not types.TensorOutput[np.float32, "batch"].is_input


def test_a_tensor_without_dimensions_has_no_dimensions() -> None:
    assert types.TensorInput[np.float32].shape == ()


def test_tensor_types_are_equal_by_dtype_and_shape() -> None:
    one = types.TensorInput[np.float32, "batch", 4]
    assert one == types.TensorInput[np.float32, "batch", 4]
    assert hash(one) == hash(types.TensorInput[np.float32, "batch", 4])
    assert one != types.TensorInput[np.float64, "batch", 4]
    assert one != types.TensorInput[np.float32, "rows", 4]
    assert one != "TensorInput[float32, 'batch', 4]"


@pytest.mark.parametrize("form", ["TensorInput", "TensorOutput"])
def test_an_array_type_means_the_same_as_its_element_type(form: str) -> None:
    subscriptable = getattr(types, form)
    array = subscriptable[npt.NDArray[np.float32], "batch", 4]
    assert array == subscriptable[np.float32, "batch", 4]
    assert repr(array) == f"{form}[float32, 'batch', 4]"


def test_a_tensor_says_how_it_is_written() -> None:
    assert repr(Tensor("batch", 4)) == "Tensor('batch', 4)"
    assert repr(types.TensorInput[np.float32]) == "TensorInput[float32]"


def test_a_tensor_type_can_be_made_directly() -> None:
    tensor = _TensorType(np.int64, (2, "n"), is_input=True)
    assert tensor == types.TensorInput[np.int64, 2, "n"]


@pytest.mark.parametrize("element", DTYPE_MAP, ids=lambda element: element.__name__)
def test_every_dtype_of_the_wire_is_an_element_type(element: type[np.generic]) -> None:
    assert types.TensorInput[element, 2].dtype is element


def test_an_element_type_of_the_same_dtype_is_the_same_element_type() -> None:
    assert types.TensorInput[np.longlong, 2].dtype is np.int64


@pytest.mark.parametrize(
    "dimension",
    [-1, 1.5, True, None, "", "batch size", "2", "größe", "a.b", ..., (2, 3), np.float32],
    ids=repr,
)
@pytest.mark.parametrize(
    "make",
    [
        lambda size: types.TensorInput[np.float32, size, 4],
        lambda size: types.TensorOutput[np.float32, 4, size],
        lambda size: Tensor(4, size),
        lambda size: _TensorType(np.float32, (size,), is_input=True),
    ],
    ids=["TensorInput", "TensorOutput", "Tensor", "_TensorType"],
)
def test_what_is_no_dimension_is_refused(make: Callable[[Any], object], dimension: object) -> None:
    with pytest.raises(ValidationError, match="is no tensor dimension; a size") as caught:
        make(dimension)
    assert str(caught.value).startswith(repr(dimension))


@given(st.lists(st.integers(0, 1 << 40) | st.from_regex("[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)))
def test_any_sizes_and_names_are_a_shape(shape: list[int | str]) -> None:
    assert Tensor(*shape).shape == tuple(shape)


@pytest.mark.parametrize(
    ("element", "named"),
    [
        (float, "float is no tensor element type"),
        ("float32", "'float32' is no tensor element type"),
        (np.dtype("float32"), r"dtype\('float32'\) is no tensor element type"),
        (np.object_, "object_ is no tensor element type"),
        (np.datetime64, "datetime64 is no tensor element type"),
        (np.void, "void is no tensor element type"),
        (np.longdouble, "longdouble is no tensor element type"),
        (npt.NDArray[Any], "Any is no tensor element type"),
        (None, "None is no tensor element type"),
        ("batch", "'batch' is no tensor element type"),
    ],
    ids=str,
)
def test_what_is_no_element_type_is_refused_by_name(element: object, named: str) -> None:
    with pytest.raises(ValidationError, match=rf"^{named}; use a NumPy scalar type: np\.float32,"):
        _ = types.TensorInput[element, 4]


@pytest.mark.parametrize("element", [np.floating, np.integer, np.number, np.generic])
def test_an_abstract_element_type_is_refused_by_name(element: type[np.generic]) -> None:
    with pytest.raises(ValidationError, match=f"{element.__name__} is no tensor element type"):
        _ = types.TensorInput[element, 4]


def test_an_array_type_of_no_known_dtype_is_refused() -> None:
    with pytest.raises(ValidationError, match="is no tensor element type"):
        _ = types.TensorInput[np.ndarray[Any, Any], 4]


def test_a_tensor_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError):
        _ = types.TensorInput[()]


def test_the_python_types_have_their_names_in_protobuf() -> None:
    assert dict(PYTHON_TYPE_MAP) == {
        float: "float",
        int: "int64",
        str: "string",
        bool: "bool",
        bytes: "bytes",
    }


def test_annotations_are_found_in_the_order_of_the_parameters(define: Define) -> None:
    model = define("def model(text: str, count: int, *, flags: list[bool]) -> float: ...")
    info = extract_type_info(model)
    assert list(info["inputs"].items()) == [("text", str), ("count", int), ("flags", list[bool])]
    assert info["output"] is float


def test_tensor_annotations_are_found(define: Define) -> None:
    model = define(
        "def model(x: TensorInput[np.float32, 'batch', 4], y: TensorInput[np.int8])"
        " -> TensorOutput[npt.NDArray[np.float32], 'batch']: ..."
    )
    info = extract_type_info(model)
    assert info["inputs"] == {
        "x": types.TensorInput[np.float32, "batch", 4],
        "y": types.TensorInput[np.int8],
    }
    assert info["output"] == types.TensorOutput[np.float32, "batch"]
    assert not info["output"].is_input


def test_what_annotated_adds_is_kept(define: Define) -> None:
    model = define("def model(x: Annotated[npt.NDArray[np.float32], Tensor('batch', 4)]): ...")
    (tensor,) = extract_type_info(model)["inputs"]["x"].__metadata__
    assert tensor.shape == ("batch", 4)


def test_stream_annotations_are_found(define: Define) -> None:
    model = define("async def model(n: int) -> AsyncIterator[TensorOutput[np.uint8, 3]]: yield")
    (item,) = extract_type_info(model)["output"].__args__
    assert item == types.TensorOutput[np.uint8, 3]


def test_an_annotation_that_is_not_there_is_missing(define: Define) -> None:
    info = extract_type_info(define("def model(a, b: None): ..."))
    assert info["inputs"] == {"a": MISSING, "b": type(None)}
    assert info["output"] is MISSING


def test_a_method_is_read_without_self(define: Define) -> None:
    model = define("class Model:\n    def run(self, x: int) -> str: ...\nmodel = Model().run")
    assert extract_type_info(model) == {"inputs": {"x": int}, "output": str}


def test_a_callable_object_is_read_from_its_call(define: Define) -> None:
    source = "class Model:\n    def __call__(self, x: int) -> str: ...\nmodel = Model()"
    assert extract_type_info(define(source)) == {"inputs": {"x": int}, "output": str}


def test_a_wrapped_function_is_read_through_its_wrapper(define: Define) -> None:
    model = define(
        "def inner(x: TensorInput[np.float32, 2]) -> str: ...\n"
        "@functools.wraps(inner)\n"
        "def model(*args, **kwargs): ..."
    )
    info = extract_type_info(model)
    assert info == {"inputs": {"x": types.TensorInput[np.float32, 2]}, "output": str}


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ("Missing", "name 'Missing' is not defined"),
        ("np.flaot32", "has no attribute 'flaot32'"),
        ("int |", "int |"),
        ("TensorInput[np.float32, -1]", "-1 is no tensor dimension"),
        ("list[TensorInput[float, 4]]", "float is no tensor element type"),
    ],
)
@pytest.mark.parametrize("at", ["x", "return"])
def test_an_annotation_that_cannot_be_evaluated_is_refused_with_its_parameter(
    annotation: str, reason: str, at: str
) -> None:
    quoted = {"x": "int", "return": "int", at: annotation}
    model = support.define(f"def model(x: {quoted['x']!r}) -> {quoted['return']!r}: ...")
    with pytest.raises(ValidationError) as caught:
        extract_type_info(model)
    assert reason in str(caught.value)
    assert caught.value.field == at


def test_the_quoted_and_the_annotated_form_are_the_same_to_a_type_checker() -> None:
    def quoted(x: TensorInput[npt.NDArray[np.float32], "batch"]) -> None: ...
    def plain(x: Annotated[npt.NDArray[np.float32], Tensor("batch")]) -> None: ...
    def result(x: int) -> TensorOutput[npt.NDArray[np.float32], "batch"]:
        return np.zeros(x, np.float32)

    array = result(3)
    quoted(array)
    plain(array)
    assert extract_type_info(quoted)["inputs"]["x"] == extract_type_info(result)["output"]
