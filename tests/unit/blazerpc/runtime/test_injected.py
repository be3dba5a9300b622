"""What a model takes besides its request, as registration sees it."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest

from blazerpc import BlazeApp, Context, Depends, Tensor
from blazerpc.codegen import ProtoGenerator
from blazerpc.codegen.schema import build_schema
from blazerpc.runtime.model import Batching
from tests.unit.blazerpc.support import refusal, registered

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 2)]


def alone(text: str) -> str:
    return text


def nothing() -> int:
    return 1


def of_context(ctx: Context) -> int:
    return 1


def yields() -> Iterator[int]:
    yield 1


def with_context(text: str, ctx: Context) -> str:
    return text


def with_default(text: str, db: int = Depends(nothing)) -> str:
    return text


def with_annotation(db: Annotated[int, Depends(of_context)], text: str) -> str:
    return text


async def with_all(
    text: str,
    ctx: Context,
    a: Annotated[int, Depends(nothing)],
    b: int = Depends(of_context),
    *,
    c: int = Depends(yields),
) -> AsyncIterator[str]:
    yield text


@pytest.mark.parametrize(
    ("func", "names"),
    [
        (alone, set()),
        (with_context, {"ctx"}),
        (with_default, {"db"}),
        (with_annotation, {"db"}),
        (with_all, {"ctx", "a", "b", "c"}),
    ],
)
def test_what_is_injected_is_not_on_the_wire(func: Callable[..., object], names: set[str]) -> None:
    app = BlazeApp()
    app.model("my-model")(func)
    model = app.registry.get("my-model")
    assert model.injected.names == names
    assert list(model.parameters) == ["text"]
    (request,) = [
        message
        for file in build_schema(app.registry).files
        for message in file.message_type
        if message.name == "MyModelRequest"
    ]
    assert [(field.name, field.number) for field in request.field] == [("text", 1)]
    text = ProtoGenerator().generate(app.registry)
    assert not [name for name in names - {"a", "b", "c"} if name in text.split()]


def test_a_model_with_nothing_on_the_wire_is_refused() -> None:
    def model(ctx: Context, db: int = Depends(nothing)) -> int:
        return 1

    assert refusal(model) == "it takes no parameters; a model needs at least one"


def two(ctx: Context, other: Context) -> int:
    return 1


def of_text(text: str) -> int:
    return 1


def by_name(*, ctx: Context) -> int:
    return 1


def test_a_function_in_depends_takes_a_context_or_nothing() -> None:
    def unannotated(ctx):  # type: ignore[no-untyped-def]  # what is tested
        return 1

    def optional(text: str = "a", *, limit: int = 3) -> int:
        return 1

    for fine in (nothing, of_context, unannotated, optional, dict, functools.partial(of_text, "")):
        assert registered(_depending_on(fine)).injected.dependencies["db"].fn is fine


class Settings:
    def __init__(self, path: str) -> None: ...


@pytest.mark.parametrize("func", [two, of_text, by_name, Settings])
def test_any_other_signature_in_depends_is_refused(func: Callable[..., object]) -> None:
    assert refusal(_depending_on(func)) == (
        "parameter 'db': a function in Depends takes a Context, or nothing"
    )


@pytest.mark.parametrize("value", [3, None, "database"])
def test_what_is_no_function_is_refused_in_depends(value: Any) -> None:
    assert refusal(_depending_on(value)) == "parameter 'db': Depends takes a function"


def _depending_on(dependency: Any) -> Callable[..., object]:
    def model(text: str, db: Any = Depends(dependency)) -> str:
        return text

    return model


def rows_with_context(x: Rows, ctx: Context) -> Rows:
    return x


def rows_with_context_below(x: Rows, db: int = Depends(of_context)) -> Rows:
    return x


def lists_with_context(texts: list[str], ctx: Context) -> list[str]:
    return texts


MEND = "take it out, or register the model with enable_batching=False"
LISTS_MEND = "take it out, or leave out batch=True"


@pytest.mark.parametrize(
    ("func", "options", "field", "mend"),
    [
        (rows_with_context, {}, "ctx", MEND),
        (rows_with_context_below, {}, "db", MEND),
        (lists_with_context, {"batch": True}, "ctx", LISTS_MEND),
        (lists_with_context, {"batch": True, "enable_batching": False}, "ctx", LISTS_MEND),
    ],
)
def test_the_context_of_one_call_is_refused_in_a_model_of_many_with_what_would_do(
    func: Callable[..., object], options: dict[str, Any], field: str, mend: str
) -> None:
    text = refusal(func, **options)
    assert text.startswith(f"parameter {field!r}: ")
    assert "the Context of one call" in text or "a Context is of one call" in text
    assert text.endswith(f"once for many of them; {mend}")


def test_the_mend_mends() -> None:
    for func in (rows_with_context, rows_with_context_below):
        assert registered(func, enable_batching=False).batching is Batching.NONE
    assert registered(lists_with_context).batching is Batching.NONE


def test_what_depends_on_no_call_can_be_injected_into_a_batch() -> None:
    def rows(x: Rows, db: int = Depends(nothing)) -> Rows:
        return x

    def of_lists(texts: list[str], db: int = Depends(yields)) -> list[str]:
        return texts

    assert registered(rows).batching is Batching.ROWS
    assert registered(of_lists, batch=True).batching is Batching.LISTS
