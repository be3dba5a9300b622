"""Classes as types: what is refused when it is registered, and in which words."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, make_dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import pydantic
import pytest
from jaxtyping import Float, Float32

from blazerpc import BlazeApp, ValidationError
from blazerpc.codegen.schema import service_file
from blazerpc.rows import EnumRow, StructRow, row_of
from blazerpc_client.wire.errors import WireError


@dataclass
class Point:
    x: int
    y: int = 0


class Named(NamedTuple):
    x: int


class Keyed(TypedDict):
    x: int


class Modelled(pydantic.BaseModel):
    x: int


class Texts(enum.Enum):
    A = "a"
    B = "b"


class Numbers(enum.Enum):
    TWO = 2
    ZERO = 0
    MINUS = -1


def register(*annotations: Any, default: object = ...) -> BlazeApp:
    """Return an app with a model for each annotation."""
    app = BlazeApp()
    for number, annotation in enumerate(annotations):
        app.model(f"model{number}")(model_of(annotation, default))
    return app


def model_of(annotation: Any, default: object = ...) -> Callable[..., object]:
    def model(value: Any) -> Any:
        return value

    model.__annotations__ = {"value": annotation, "return": int}
    if default is not ...:
        model.__defaults__ = (default,)
    return model


def dataclass_of(annotation: Any, default: Any = ..., name: str = "Made") -> type:
    what = (annotation,) if default is ... else (annotation, field(default_factory=lambda: default))
    return make_dataclass(name, [("x", *what)])


class Huge(enum.Enum):
    X = 1 << 31


class Odd(enum.Enum):
    GRÜN = 1


class Nothing(enum.Enum):
    pass


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (dataclass_of(complex), r"Made\.x: complex is not supported; use str"),
        (dataclass_of("Missing"), "Made: an annotation cannot be evaluated: name 'Missing'"),
        (dataclass_of(int, "a"), r"Made\.x: expected int, got str"),
        (dataclass_of(int | None, 3), r"Made\.x: absent would mean None and the default"),
        (dataclass_of(list[int], [1]), r"Made\.x: .* only \[\] will do"),
        (dataclass_of(dict[str, int], {"a": 1}), r"Made\.x: .* only \{\} will do"),
        (dataclass_of(dataclass_of(set[int], name="Inner")), r"Inner\.x: set\[int\] is not supp"),
        (make_dataclass("Empty", []), "Empty has no fields"),
        (make_dataclass("Made", [("größe", int)]), r"Made\.größe: a field cannot have this name"),
        (make_dataclass("Made", [("__x", int)]), r"Made\.__x: a field cannot have this name"),
        (list[list[int]], r"a list of list\[int\] has no form in protobuf; put list\[int\] into a"),
        (list[dict[str, int]], r"a list of dict\[str, int\] has no form"),
        (list[int | None], r"a list of int \| None has no form"),
        (dict[str, list[int]], r"a dict of list\[int\] has no form"),
        (dict[float, int], "the keys of a dict are str or int"),
        (dict[str, int] | None, "cannot tell an absent dict from an empty one"),
        (Literal[1, "a"], "a Literal of strings is supported"),
        (Huge, r"Huge\.X is beyond the 32 bits"),
        (Odd, r"Odd\.GRÜN: a name on the wire is ASCII"),
        (Nothing, "Nothing is an enum without members"),
        (Float[np.ndarray, "n"], "stands for several dtypes; name one, as Float32 does"),
        (Float32[np.ndarray, "..."], r"'\.\.\.' is no tensor dimension"),
        (Float32[np.ndarray, "n+1"], r"'n\+1' is no tensor dimension"),
        (dataclass_of(int, name="TensorProto"), "has the name of a message of BlazeRPC itself"),
        (dataclass_of(int, name="Model0Request"), "has the name of a message of model 'model0'"),
    ],
)
def test_a_type_that_has_no_place_on_the_wire_is_refused(annotation: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        register(annotation)
    assert str(caught.value).startswith("model 'model0'")


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        (Texts, "a", "default value: expected Texts, got str"),
        (Literal["a", "b"], "c", "default value: expected one of 'a', 'b', got 'c'"),
        (datetime, datetime(2020, 1, 1), "default value: a naive datetime"),
        (timedelta, 3, "default value: expected timedelta, got int"),
        (dict[str, int], {"a": 1}, r"default value: .* only \{\} will do"),
    ],
)
def test_a_default_of_another_type_is_refused(
    annotation: Any, default: object, message: str
) -> None:
    with pytest.raises(ValidationError, match=f"model 'model0', parameter 'value': {message}"):
        register(annotation, default=default)


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"two classes are called Made, .* rename one"):
        register(dataclass_of(int), dataclass_of(str))
    with pytest.raises(ValidationError, match="two classes are called Made"):
        register(dataclass_of(list[dataclass_of(int)]))  # type: ignore[misc]  # a value here


def test_one_class_may_be_used_many_times() -> None:
    file = service_file(register(Point, list[Point], dict[str, Point], Point | None).registry)
    assert [message.name for message in file.message_type].count("Point") == 1


@pytest.mark.parametrize("kind", [Point, Named, Keyed, Modelled])
def test_every_kind_of_class_is_a_message_of_its_name(kind: type) -> None:
    row = row_of(kind)
    assert isinstance(row, StructRow)
    assert row.name == kind.__name__
    assert [definition.name for definition in row.definition().field][:1] == ["x"]
    made = row.make({"x": 3, "y": None} if kind is Point else {"x": 3})
    assert row.take(made)["x"] == 3
    with pytest.raises(WireError, match=f"^expected {kind.__name__}, got str$"):
        row.take("no instance")


def test_a_field_that_cannot_be_none_is_not() -> None:
    row = row_of(Point)
    assert isinstance(row, StructRow)
    with pytest.raises(WireError, match=r"^y: expected a value, got None$"):
        row.take(Point(x=1, y=None))  # type: ignore[arg-type]  # what is tested


def test_what_the_class_refuses_is_refused_with_its_reason() -> None:
    row = row_of(Modelled)
    assert isinstance(row, StructRow)
    with pytest.raises(WireError, match=r"^Modelled refuses it: 1 validation error"):
        row.make({"x": "no number"})


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Texts, [("TEXTS_UNSPECIFIED", 0), ("TEXTS_A", 1), ("TEXTS_B", 2)]),
        (Numbers, [("NUMBERS_ZERO", 0), ("NUMBERS_TWO", 2), ("NUMBERS_MINUS", -1)]),
    ],
)
def test_an_enum_has_its_zero_first(kind: type, values: list[tuple[str, int]]) -> None:
    row = row_of(kind)
    assert isinstance(row, EnumRow)
    assert [(value.name, value.number) for value in row.definition().value] == values
    numbers = [number for name, number in values if not name.endswith("UNSPECIFIED")]
    assert sorted(row.members) == sorted(numbers)


def test_a_class_that_holds_itself_is_looked_into_once() -> None:
    def walk_forever(value: Node) -> Iterator[Node]:
        yield value

    app = BlazeApp()
    app.model("nodes")(walk_forever)
    assert list(app.registry.get("nodes").classes) == [row_of(Node)]


@dataclass
class Node:
    children: list[Node]
    by_name: dict[str, Node]
    next: Node | None = None
