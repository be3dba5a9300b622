"""Classes as types: what is refused when it is registered, and in which words."""

from __future__ import annotations

import enum
import uuid
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar

import numpy as np
import pydantic
import pydantic.dataclasses
import pytest
from jaxtyping import Bool, Float, Float32, Shaped
from typing_extensions import TypeAliasType

from blazerpc import BlazeApp, InferenceError, ValidationError
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
    if default is ...:
        return make_dataclass(name, [("x", annotation)])
    if isinstance(default, list | dict):
        default = field(default_factory=partial(type(default), default))
    return make_dataclass(name, [("x", annotation, default)])


class Huge(enum.Enum):
    X = 1 << 31


class Odd(enum.Enum):
    GRÜN = 1


class Nothing(enum.Enum):
    pass


@dataclass
class NeedsMore:
    x: int
    seed: InitVar[int]


@dataclass
class Endless:
    one: Half


@dataclass
class Half:
    other: Endless


Untyped = namedtuple("Untyped", ["x"])


class Aliased(pydantic.BaseModel):
    x: int = pydantic.Field(alias="X")


class Rooted(pydantic.RootModel[list[int]]):
    pass


T = TypeVar("T")


class Generic_(pydantic.BaseModel, Generic[T]):  # noqa: N801 - a name that no other test has
    x: T


class MayLackList(TypedDict, total=False):
    x: list[int]


class MayLackNone(TypedDict):
    x: NotRequired[int | None]


class Combined(enum.IntFlag):
    A = 1
    B = 2


class Unspecified(enum.Enum):
    UNSPECIFIED = "u"
    A = "a"


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (dataclass_of(complex), r"Made\.x: complex is not supported; use str"),
        (dataclass_of("Missing"), "Made: an annotation cannot be evaluated: name 'Missing'"),
        (dataclass_of(int, "a"), r"Made\.x: expected int, got str"),
        (dataclass_of(int | None, 3), r"Made\.x: absent would mean None and the default"),
        (dataclass_of(list[int], [1]), r"Made\.x: .* only \[\] will do"),
        (dataclass_of(list[int], None), r"Made\.x: .* only \[\] will do"),
        (dataclass_of(dict[str, int], {"a": 1}), r"Made\.x: .* only \{\} will do"),
        (dataclass_of(dataclass_of(set[int], name="Inner")), r"Inner\.x: set\[int\] is not supp"),
        (make_dataclass("Empty", []), "Empty has no fields"),
        (make_dataclass("Ünï", [("x", int)]), "class Ünï has a name that has no place on the wire"),
        (
            make_dataclass("Made", [("foo_bar", int), ("fooBar", int)]),
            r"Made\.fooBar: protobuf's JSON name of it is also that of 'foo_bar'",
        ),
        (NeedsMore, r"NeedsMore: seed is needed to make one, and is no field"),
        (Endless, "Endless needs another Endless, so that none can be made"),
        (Untyped, "Untyped: its fields have no types; write class"),
        (Aliased, r"Aliased: a field with an alias has two names"),
        (Rooted, "Rooted: a RootModel has no fields; use its root's type"),
        (Generic_[int], r"class Generic_\[int\] has a name that has no place"),
        (MayLackList, r"MayLackList\.x: absent cannot be told from an empty one"),
        (MayLackNone, r"MayLackNone\.x: absent cannot be told from None"),
        (Combined, "Combined is a Flag, whose combinations have no names"),
        (Unspecified, r"Unspecified\.UNSPECIFIED: the zero that protobuf needs is called so"),
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
        (Shaped[np.ndarray, "n"], "stands for several dtypes; name one, as Float32 does"),
        (Float32[np.ndarray, "..."], r"'\.\.\.' in jaxtyping's shape has no form"),
        (Float32[np.ndarray, "n+1"], r"'n\+1' in jaxtyping's shape has no form"),
        (Float32[np.ndarray, "_ 2"], r"'_' in jaxtyping's shape has no form"),
        (Literal["\ud800"], "not valid Unicode text"),
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
    with pytest.raises(WireError, match=r"^Modelled refuses it: x: Input should be a valid int"):
        row.make({"x": "no number"})


def test_what_a_class_fails_at_is_no_fault_of_the_caller() -> None:
    @dataclass
    class Failing:
        x: int

        def __post_init__(self) -> None:
            self.x = {1: 1}[self.x]

    row = row_of(Failing)
    assert isinstance(row, StructRow)
    assert row.make({"x": 1}) == Failing(1)
    with pytest.raises(InferenceError, match=r"^Failing cannot be made: KeyError\(2\)$"):
        row.make({"x": 2})


def test_a_default_that_is_made_anew_is_not_in_the_schema() -> None:
    @dataclass
    class Stamped:
        at: datetime = field(default_factory=lambda: datetime.now(UTC))
        tags: list[str] = field(default_factory=list)

    class Tagged(pydantic.BaseModel):
        name: str = "a"
        tag: str = pydantic.Field(default_factory=lambda: uuid.uuid4().hex)
        long: str = pydantic.Field(default_factory=lambda data: data["name"] * 2)

    for kind in (Stamped, Tagged):
        row = row_of(kind)
        assert isinstance(row, StructRow)
        assert row.definition() == row.definition()
        first, second = (row.make(dict.fromkeys(row.fields)) for _ in range(2))
        assert isinstance(first, kind)
        assert first != second
    fields = {f.name: f for f in row_of(Tagged).definition().field}  # type: ignore[attr-defined]
    assert {name: f.proto3_optional for name, f in fields.items()} == {
        "name": True,
        "tag": True,
        "long": True,
    }
    assert {name for name, f in fields.items() if f.HasField("options")} == {"name"}


def test_a_pydantic_dataclass_has_pydantics_defaults() -> None:
    @pydantic.dataclasses.dataclass
    class Counted:
        x: int = pydantic.Field(default=3, ge=0)

    row = row_of(Counted)
    assert isinstance(row, StructRow)
    assert row.make({"x": None}) == Counted(3)
    with pytest.raises(WireError, match="x: Input should be greater than or equal to 0"):
        row.make({"x": -1})


def test_jaxtypings_bool_is_one_dtype() -> None:
    assert str(row_of(Bool[np.ndarray, "n 2"])) == "bool (n, 2)"


def test_aliases_are_followed_wherever_they_stand() -> None:
    # What `type Key = str` makes, in the syntax of Python 3.12.
    key = TypeAliasType("key", str)
    assert str(row_of(dict[key, int])) == "dict[str, int]"
    numbers = TypeAliasType("numbers", Iterator[int])

    def count(n: int) -> Any:
        yield from range(n)

    count.__annotations__["return"] = numbers
    app = BlazeApp()
    app.model("count")(count)
    assert app.registry.get("count").streaming


def test_values_of_enums_have_one_scope() -> None:
    KIND = enum.Enum("KIND", {"A_X": 1})  # noqa: N806 - mypy wants a functional enum called so
    KIND_A = enum.Enum("KIND_A", {"X": 1})  # noqa: N806 - likewise
    with pytest.raises(ValidationError, match="would be KIND_A_X, as is a value of enum KIND;"):
        register(KIND, KIND_A)
    named = make_dataclass("KIND_A_X", [("x", int)])
    with pytest.raises(ValidationError, match="would be KIND_A_X, as is a class or message;"):
        register(KIND, named)


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
