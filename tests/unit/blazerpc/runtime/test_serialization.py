from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from blazerpc import InferenceError, SerializationError, Tensor, ValidationError
from blazerpc.codegen.schema import build_schema, method_full_name
from blazerpc.runtime import ModelRegistry, TensorProto, deserialize_tensor, serialize_tensor
from blazerpc.runtime.serialization import ModelCodec
from blazerpc.types import DTYPE_MAP

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 2)]
Weights = Annotated[npt.NDArray[np.float64], Tensor("batch")]


def codec_of(func: Callable[..., object]) -> ModelCodec:
    registry = ModelRegistry()
    registry.register("my-model", "1", func)
    model = registry.get("my-model")
    return ModelCodec(model, build_schema(registry), method_full_name(model))


def scalars(text: str, count: np.uint32, rates: list[np.float64], flags: list[bool]) -> np.int32:
    raise NotImplementedError


def rows(x: Rows, weights: Weights) -> Rows:
    raise NotImplementedError


def stream(x: Rows) -> Iterator[Rows]:
    raise NotImplementedError


def rows_request(codec: ModelCodec, x: npt.NDArray[Any], weights: npt.NDArray[Any]) -> Any:
    request: Any = codec.request_class()
    for field, array in ((request.x, x), (request.weights, weights)):
        tensor = serialize_tensor(array)
        field.shape.extend(tensor.shape)
        field.dtype = tensor.dtype
        field.data = tensor.data
    return request


def test_arguments_have_the_types_of_their_annotations() -> None:
    codec = codec_of(scalars)
    request = codec.request_class(text="é", count=3, rates=[1.5, 2.5], flags=[True])
    arguments = codec.decode(request, {})
    assert arguments == {"text": "é", "count": 3, "rates": [1.5, 2.5], "flags": [True]}
    assert type(arguments["count"]) is np.uint32
    assert isinstance(arguments["rates"], list)
    assert [type(rate) for rate in arguments["rates"]] == [np.float64, np.float64]


def test_scalars_that_are_not_there_are_protobufs_zero_values() -> None:
    codec = codec_of(scalars)
    arguments = codec.decode(codec.request_class(), {})
    assert arguments == {"text": "", "count": 0, "rates": [], "flags": []}


def test_tensors_arrive_as_arrays_and_bind_the_dimensions_of_the_call() -> None:
    codec, dims = codec_of(rows), dict[str, int]()
    x, weights = np.arange(6, dtype=np.float32).reshape(3, 2), np.ones(3)
    arguments = codec.decode(rows_request(codec, x, weights), dims)
    np.testing.assert_array_equal(np.asarray(arguments["x"]), x, strict=True)
    np.testing.assert_array_equal(np.asarray(arguments["weights"]), weights, strict=True)
    assert dims == {"batch": 3}


@pytest.mark.parametrize(
    ("x", "weights", "field", "message"),
    [
        (np.ones((2, 2)), np.ones(2), "x", "expected dtype float32, got float64"),
        (
            np.ones((2, 3), np.float32),
            np.ones(2),
            "x",
            r"expected shape .*, got \(2, 3\)",
        ),
        (np.ones(2, np.float32), np.ones(2), "x", r"expected shape .*, got \(2,\)"),
        (np.ones((2, 2), np.float32), np.ones(3), "weights", "dimension 'batch' is 3 here, 2 earl"),
    ],
)
def test_an_argument_that_is_not_as_annotated_is_refused_by_name(
    x: npt.NDArray[Any], weights: npt.NDArray[Any], field: str, message: str
) -> None:
    codec = codec_of(rows)
    with pytest.raises(ValidationError, match=message) as caught:
        codec.decode(rows_request(codec, x, weights), {})
    assert caught.value.field == field


def test_a_tensor_that_is_not_there_is_refused_by_name() -> None:
    codec = codec_of(rows)
    with pytest.raises(ValidationError, match="missing") as caught:
        codec.decode(codec.request_class(), {})
    assert caught.value.field == "x"


@pytest.mark.parametrize("result", [7, np.int32(7), np.int64(7), np.uint8(7)])
def test_a_result_of_the_annotated_kind_is_sent(result: object) -> None:
    response: Any = codec_of(scalars).encode(result, {})
    assert response.result == 7


@pytest.mark.parametrize("result", ["7", 7.0, None, 1 << 31, -(1 << 31) - 1, [7], np.ones(1)])
def test_a_result_that_is_not_as_annotated_is_the_models_failure(result: object) -> None:
    with pytest.raises(
        InferenceError, match="model 'my-model' returned what its annotation does not say: result"
    ) as caught:
        codec_of(scalars).encode(result, {})
    assert caught.value.model_name == "my-model"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.ones((3, 2)), "expected dtype float32, got float64"),
        (np.ones((3, 4), np.float32), r"expected shape \(batch, 2\), got \(3, 4\)"),
        (np.ones((4, 2), np.float32), "dimension 'batch' is 4 here, 3 earlier in the call"),
        ([[1.0, 2.0]], r"expected float32 \(batch, 2\) array, got list"),
        (None, r"expected float32 \(batch, 2\) array, got NoneType"),
    ],
)
def test_a_tensor_that_is_not_as_annotated_is_the_models_failure(
    result: object, message: str
) -> None:
    with pytest.raises(InferenceError, match=message):
        codec_of(rows).encode(result, {"batch": 3})


def test_a_result_is_read_by_the_same_schema() -> None:
    codec = codec_of(rows)
    response: Any = codec.encode(np.ones((3, 2), np.float32), {"batch": 3})
    assert list(response.result.shape) == [3, 2]
    assert response.result.dtype == "float"
    again = codec.response_class.FromString(response.SerializeToString())
    assert again == response


# serialize_tensor and deserialize_tensor.

NUMERIC = [np.dtype(kind) for kind in DTYPE_MAP if np.dtype(kind).kind in "biufc"]

arrays = st.sampled_from(NUMERIC).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
# NumPy drops trailing NULs, and text that is no UTF-8 has no place on the wire.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
text_arrays = hnp.arrays(
    np.str_, hnp.array_shapes(min_dims=0, max_dims=2, min_side=0), elements=texts
)


@given(arrays | text_arrays)
@settings(max_examples=200, deadline=None)
def test_any_array_survives(array: npt.NDArray[Any]) -> None:
    again = deserialize_tensor(serialize_tensor(array))
    assert again.shape == array.shape
    assert again.dtype.kind == array.dtype.kind
    if array.dtype.kind != "U":
        assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@given(arrays)
@settings(deadline=None)
def test_layout_and_byte_order_do_not_matter(array: npt.NDArray[Any]) -> None:
    plain = serialize_tensor(array)
    assert serialize_tensor(array.copy(order="F")) == plain
    assert serialize_tensor(array.astype(array.dtype.newbyteorder(">"))) == plain
    assert serialize_tensor(array[::-1][::-1] if array.ndim else array) == plain


@pytest.mark.parametrize(("kind", "name"), DTYPE_MAP.items())
def test_every_dtype_has_its_name_on_the_wire(kind: type[np.generic], name: str) -> None:
    tensor = serialize_tensor(np.zeros((2, 0), kind))
    assert tensor == TensorProto((2, 0), name, b"")
    assert deserialize_tensor(tensor).dtype.type is kind


def test_the_bytes_are_those_of_the_contract() -> None:
    array = np.array([[1, 2], [3, 4]], np.int16)
    assert serialize_tensor(array) == TensorProto((2, 2), "int16", b"\1\0\2\0\3\0\4\0")
    text = np.array(["a", "é", ""])
    data = b"\1\0\0\0a\2\0\0\0\xc3\xa9\0\0\0\0"
    assert serialize_tensor(text) == TensorProto((3,), "string", data)


def test_a_reader_accepts_numpys_spelling_too() -> None:
    assert deserialize_tensor(TensorProto((1,), "float64", b"\0" * 8)).dtype == np.float64


def test_what_arrived_is_read_only() -> None:
    array = deserialize_tensor(serialize_tensor(np.zeros(3)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_protobuf_message_is_read_as_well() -> None:
    codec = codec_of(rows)
    response: Any = codec.encode(np.ones((3, 2), np.float32), {})
    np.testing.assert_array_equal(deserialize_tensor(response.result), np.ones((3, 2)))


@pytest.mark.parametrize("dtype", ["object", "datetime64[s]", "V8", "longdouble"])
def test_a_dtype_without_a_place_on_the_wire_is_refused_by_name(dtype: str) -> None:
    with pytest.raises(SerializationError, match=r"unsupported dtype .*float32, float64") as caught:
        serialize_tensor(np.zeros(2, dtype))
    assert caught.value.dtype == str(np.dtype(dtype))


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(SerializationError, match="element 1 is no valid Unicode text") as caught:
        serialize_tensor(np.array(["a", "\ud800"]))
    assert caught.value.dtype is None


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto((1,), "quux", b""), "unknown dtype 'quux'"),
        (TensorProto((1,), "object", b"\0" * 8), "unknown dtype 'object'"),
        (TensorProto((2,), "int32", b"\0" * 7), r"shape \(2,\) of int32 takes 8 bytes, got 7"),
        (TensorProto((-2,), "int32", b""), "negative dimension"),
        (TensorProto((1 << 62, 4), "int8", b""), "takes 18446744073709551616 bytes, got 0"),
        (TensorProto((0, 1 << 62, 4), "int8", b""), "is too large"),
        (TensorProto((1,) * 65, "int8", b"\0"), "at most 64 dimensions, got 65"),
        (TensorProto((1,), "bool", b"\2"), "a bool tensor holds only the bytes 0 and 1"),
        (TensorProto((1,), "string", b"\2\0\0\0a"), "data ends inside an element"),
        (TensorProto((1,), "string", b"\2\0"), "data ends inside the length of an element"),
        (TensorProto((1,), "string", b"\1\0\0\0\xff"), "an element is not valid UTF-8"),
        (TensorProto((2,), "bytes", b"\0\0\0\0"), "takes 2 elements, the data holds 1"),
    ],
)
def test_a_tensor_that_describes_no_array_is_refused_with_its_dtype(
    tensor: TensorProto, message: str
) -> None:
    with pytest.raises(SerializationError, match=message) as caught:
        deserialize_tensor(tensor)
    assert caught.value.dtype == tensor.dtype
