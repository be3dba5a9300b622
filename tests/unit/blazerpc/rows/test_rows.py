from __future__ import annotations

import collections.abc
import typing
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.text_format import MessageToString

from blazerpc import Tensor, TensorInput, TensorOutput, ValidationError
from blazerpc.rows import ACCEPTED, ROWS, ListRow, NumpyScalarRow, ScalarRow, TensorRow, row_of
from blazerpc.types import DTYPE_MAP
from blazerpc_client.wire.options import field_options

# To a type checker these are Annotated, which takes less than the classes at run time.
INPUT: Any = TensorInput
OUTPUT: Any = TensorOutput

SCALARS = [
    (str, "TYPE_STRING", "str"),
    (int, "TYPE_INT64", "int"),
    (float, "TYPE_FLOAT", "float"),
    (bool, "TYPE_BOOL", "bool"),
    (bytes, "TYPE_BYTES", "bytes"),
    (np.float32, "TYPE_FLOAT", "float32"),
    (np.float64, "TYPE_DOUBLE", "float64"),
    (np.int32, "TYPE_INT32", "int32"),
    (np.int64, "TYPE_INT64", "int64"),
    (np.uint32, "TYPE_UINT32", "uint32"),
    (np.uint64, "TYPE_UINT64", "uint64"),
    (np.bool_, "TYPE_BOOL", "bool"),
]


def described(annotation: object) -> FieldDescriptorProto:
    field = FieldDescriptorProto()
    row_of(annotation).describe(field, DescriptorProto())
    return field


@pytest.mark.parametrize(("annotation", "proto", "text"), SCALARS)
def test_a_scalar_is_a_singular_field_of_its_width(annotation: type, proto: str, text: str) -> None:
    field = described(annotation)
    assert FieldDescriptorProto.Type.Name(field.type) == proto
    assert field.label == FieldDescriptorProto.LABEL_OPTIONAL
    assert str(row_of(annotation)) == text


@pytest.mark.parametrize(("annotation", "proto", "text"), SCALARS)
def test_a_list_of_scalars_is_a_repeated_field(annotation: type, proto: str, text: str) -> None:
    of = list[annotation]  # type: ignore[valid-type]  # the type is a value here
    field = described(of)
    assert FieldDescriptorProto.Type.Name(field.type) == proto
    assert field.label == FieldDescriptorProto.LABEL_REPEATED
    assert str(row_of(of)) == f"list[{text}]"


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (str, ScalarRow),
        (np.float64, NumpyScalarRow),
        (list[int], ListRow),
        (list[np.uint32], ListRow),
        (typing.List[int], ListRow),  # noqa: UP006 - what older code has
        (INPUT[np.float32, "batch"], TensorRow),
        (OUTPUT[np.float32, "batch"], TensorRow),
        (Annotated[npt.NDArray[np.float32], Tensor("batch")], TensorRow),
    ],
    ids=str,
)
def test_every_kind_of_annotation_has_its_row(annotation: object, kind: type) -> None:
    assert type(row_of(annotation)) is kind


@pytest.mark.parametrize("annotation", [str, np.float64, list[int], INPUT[np.float32]], ids=str)
def test_one_row_and_no_other_claims_an_annotation(annotation: object) -> None:
    assert [kind for kind in ROWS if kind.match(annotation, row_of)] == [type(row_of(annotation))]


@pytest.mark.parametrize("annotation", [str, int, float, bool, bytes, list[int]])
def test_plain_values_need_no_adapter(annotation: object) -> None:
    assert row_of(annotation).adapter() is None


@pytest.mark.parametrize("scalar", [np.float32, np.float64, np.int32, np.uint64, np.bool_])
def test_a_function_gets_the_numpy_scalar_that_it_asks_for(scalar: type[np.generic]) -> None:
    adapt = row_of(scalar).adapter()
    adapt_each = row_of(list[scalar]).adapter()  # type: ignore[valid-type]  # a value here
    assert adapt is not None
    assert adapt_each is not None
    assert type(adapt(1)) is scalar
    values = adapt_each([0, 1])
    assert isinstance(values, list)
    assert [type(value) for value in values] == [scalar, scalar]


def test_a_numpy_scalar_type_of_the_same_width_is_accepted_and_kept() -> None:
    field, adapt = described(np.longlong), row_of(np.longlong).adapter()
    assert field.type == FieldDescriptorProto.TYPE_INT64
    assert adapt is not None
    assert type(adapt(1)) is np.longlong


@pytest.mark.parametrize(
    "annotation",
    [
        INPUT[np.float32, "batch", 4],
        OUTPUT[np.float32, "batch", 4],
        INPUT[npt.NDArray[np.float32], "batch", 4],
        Annotated[npt.NDArray[np.float32], Tensor("batch", 4)],
        Annotated[npt.NDArray[np.float32], "a note", Tensor("batch", 4)],
        Annotated[np.ndarray[tuple[int, int], np.dtype[np.float32]], Tensor("batch", 4)],
    ],
)
def test_every_form_of_a_tensor_is_the_same_field(annotation: object) -> None:
    field = described(annotation)
    assert field.type == FieldDescriptorProto.TYPE_MESSAGE
    assert field.type_name == ".blazerpc.TensorProto"
    assert field.label == FieldDescriptorProto.LABEL_OPTIONAL
    assert str(row_of(annotation)) == "float32 (batch, 4)"
    assert MessageToString(field_options(field.options), as_one_line=True) == (
        '[blazerpc.tensor] { dtype: "float" shape: "batch" shape: "4" }'
    )


@pytest.mark.parametrize(("element", "name"), DTYPE_MAP.items())
def test_a_tensor_says_its_dtype_as_the_wire_does(element: type[np.generic], name: str) -> None:
    text = MessageToString(field_options(described(INPUT[element]).options), as_one_line=True)
    assert text == f'[blazerpc.tensor] {{ dtype: "{name}" }}'


USE = r"use str, int, float, bool, bytes, "


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        (object, "object"),
        (complex, "complex"),
        (list, "list"),
        (tuple, "tuple"),
        (tuple[int, ...], r"tuple\[int, \.\.\.\]"),
        (set[int], r"set\[int\]"),
        (type(None), "NoneType"),
        (Any, "Any"),
        (typing.NewType("Score", float), r"[\w.]*Score"),
        (typing.TypeVar("T"), "~T"),
        (collections.abc.Sequence[int], r"collections\.abc\.Sequence\[int\]"),
        (collections.abc.Iterator[int], r"collections\.abc\.Iterator\[int\]"),
        ([int], r"\[<class 'int'>\]"),
        ({"a": int}, r"\{'a': <class 'int'>\}"),
        (3, "3"),
        ("int", "int"),
    ],
    ids=str,
)
def test_an_annotation_without_a_row_is_refused_with_all_that_would_do(
    annotation: object, named: str
) -> None:
    with pytest.raises(ValidationError, match=f"^{named} is not supported; {USE}"):
        row_of(annotation)


@pytest.mark.parametrize(
    "form",
    [
        "np.float64",
        "TensorInput[np.float32, 'batch', 4]",
        "Annotated[npt.NDArray[np.float32], Tensor('batch', 4)]",
    ],
)
def test_what_would_do_is_accepted_as_it_is_written(form: str) -> None:
    assert form in ACCEPTED
    names = {"np": np, "npt": npt, "TensorInput": INPUT, "Tensor": Tensor, "Annotated": Annotated}
    row_of(eval(form, names))


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        (np.int8, "np.int8"),
        (np.uint16, "np.uint16"),
        (np.float16, "np.float16"),
        (np.complex64, "np.complex64"),
        (np.datetime64, "np.datetime64"),
        (np.object_, "np.object_"),
        (np.str_, "np.str_"),
        (np.bytes_, "np.bytes_"),
    ],
)
def test_a_numpy_scalar_that_protobuf_has_not_is_refused_with_those_it_has(
    annotation: type, named: str
) -> None:
    would_do = "use str, bytes, np.float32, np.float64, np.int32, np.int64, np.uint32, np.uint64"
    with pytest.raises(ValidationError, match=f"^{named} has no scalar type .*; {would_do}"):
        row_of(annotation)


@pytest.mark.parametrize("annotation", [np.floating, np.integer, np.number, np.generic])
def test_an_abstract_numpy_scalar_is_refused_by_name(annotation: type) -> None:
    with pytest.raises(ValidationError, match=f"np.{annotation.__name__} .*use str, bytes, np."):
        row_of(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        np.ndarray,
        npt.NDArray[np.float32],
        npt.NDArray[Any],
        np.ndarray[Any, Any],
        np.ndarray[Any, np.dtype[Any]],
        np.ndarray[tuple[int, int], np.dtype[np.float32]],
    ],
    ids=str,
)
def test_an_array_without_a_shape_is_refused_with_the_form_that_has_one(annotation: object) -> None:
    would_do = r"write Annotated\[npt\.NDArray\[np\.float32\], Tensor\('batch', 4\)\]"
    with pytest.raises(ValidationError, match=f"^an array without a shape; {would_do}"):
        row_of(annotation)


@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[npt.NDArray[np.object_], Tensor(4)],
        Annotated[npt.NDArray[Any], Tensor(4)],
        Annotated[np.ndarray[Any, Any], Tensor(4)],
    ],
    ids=str,
)
def test_an_array_with_a_shape_and_no_element_type_is_refused(annotation: object) -> None:
    with pytest.raises(ValidationError, match="is no tensor element type; use a NumPy scalar type"):
        row_of(annotation)


def test_a_list_of_lists_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"^a list "):
        row_of(list[list[int]])


@pytest.mark.parametrize("annotation", [list[Any], list[object], list[int | str]], ids=str)
def test_a_list_of_what_has_no_row_is_refused_by_the_name_of_that(annotation: Any) -> None:
    (item,) = typing.get_args(annotation)
    with pytest.raises(ValidationError) as caught:
        row_of(annotation)
    with pytest.raises(ValidationError) as of_item:
        row_of(item)
    assert str(caught.value) == str(of_item.value)


def test_a_shape_of_what_is_no_array_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"list\[float\] is no array type; write Annotated\["):
        row_of(Annotated[list[float], Tensor(4)])


def test_what_an_annotation_adds_for_others_is_passed_over() -> None:
    assert row_of(Annotated[int, "a note"]) == row_of(int)


def test_a_list_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match=USE):
        row_of(typing.List)  # noqa: UP006 - what older code has
