"""Registration of models that are batched, and of those that are classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union

import numpy as np
import numpy.typing as npt
import pytest

from blazerpc import (
    BlazeApp,
    ConfigurationError,
    ExecutionOptions,
    Tensor,
)
from blazerpc.codegen import ProtoGenerator
from blazerpc.runtime.model import Batching
from tests.unit.blazerpc.support import refusal, registered

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 2)]


# How a model is batched.


def rowwise(x: Rows, y: Rows) -> Rows:
    return x + y


def lists(texts: list[str], weights: list[float]) -> list[float]:
    return weights


def alone(text: str) -> str:
    return text


def not_every_row(x: Rows, factor: float) -> Rows:
    return x * np.float32(factor)


def stream_of_rows(x: Rows) -> Iterator[Rows]:
    yield x


@pytest.mark.parametrize(
    ("func", "options", "batching"),
    [
        (rowwise, {}, Batching.ROWS),
        (rowwise, {"enable_batching": False}, Batching.NONE),
        (lists, {"batch": True}, Batching.LISTS),
        (lists, {"batch": True, "enable_batching": False}, Batching.LISTS),
        (lists, {}, Batching.NONE),
        (alone, {}, Batching.NONE),
        (not_every_row, {}, Batching.NONE),
        (stream_of_rows, {}, Batching.NONE),
    ],
)
def test_a_model_is_batched_when_one_call_can_serve_many_requests(
    func: Callable[..., object], options: dict[str, Any], batching: Batching
) -> None:
    assert registered(func, **options).batching is batching


def test_a_request_to_a_model_of_lists_has_one_value_of_each() -> None:
    model = registered(lists, batch=True)
    assert dict(model.input_types) == {"texts": str, "weights": float}
    assert model.output_type is float
    app = BlazeApp()
    app.model("my-model", batch=True)(lists)
    proto = ProtoGenerator().generate(app.registry)
    assert "string texts = 1" in proto
    assert "float weights = 2" in proto
    assert "repeated" not in proto.partition("message MyModelRequest")[2].partition("}")[0]


def test_lists_of_lists_and_optional_values_are_fine() -> None:
    def model(a: list[list[int]], b: list[str | None]) -> list[npt.NDArray[np.float32]]:
        return []

    model.__annotations__["return"] = list[Annotated[npt.NDArray[np.float32], Tensor("n")]]
    assert registered(model, batch=True).batching is Batching.LISTS


@pytest.mark.parametrize(
    ("result", "item"),
    [
        (list[int | Exception], int),
        (list[Exception | str | None], str | None),
        (list[Union[int, Exception]], int),  # noqa: UP007 - the old way to write it
        (list[Annotated[list[int], "x"] | Exception], Annotated[list[int], "x"]),
    ],
)
def test_a_result_that_may_be_an_exception_is_the_result_on_the_wire(
    result: object, item: object
) -> None:
    def model(texts: list[str]) -> list[str]:
        return texts

    model.__annotations__["return"] = result
    assert registered(model, batch=True).output_type == item


def takes_no_list(texts: list[str], top_k: int) -> list[str]:
    return texts


def gives_no_list(texts: list[str]) -> str:
    return ""


def has_a_default(texts: list[str], weights: list[float] = []) -> list[str]:  # noqa: B006 - tested
    return texts


def is_a_stream(texts: list[str]) -> Iterator[list[str]]:
    yield texts


def bare_list(texts: list) -> list[str]:  # type: ignore[type-arg]  # what is tested
    return texts


@pytest.mark.parametrize(
    ("func", "text"),
    [
        (takes_no_list, "parameter 'top_k': batch=True takes and returns lists with a value"),
        (gives_no_list, "result: batch=True takes and returns lists with a value for each request"),
        (has_a_default, "parameter 'weights': a default would be that of the whole batch; write"),
        (is_a_stream, "result: a stream cannot be batched; leave out batch=True"),
        (bare_list, "parameter 'texts': batch=True takes and returns lists with a value for each"),
        (rowwise, "parameter 'x': batch=True takes and returns lists with a value for each"),
    ],
)
def test_batch_is_refused_where_it_cannot_be(func: Callable[..., object], text: str) -> None:
    assert refusal(func, batch=True).startswith(text)


@pytest.mark.parametrize("func", [alone, lists, stream_of_rows, not_every_row])
def test_isolation_of_failures_is_refused_where_nothing_is_batched(
    func: Callable[..., object],
) -> None:
    text = "isolate_failures is for models that are batched; leave it out"
    assert refusal(func, isolate_failures=True) == text


def test_isolation_of_failures_is_for_both_kinds_of_batches() -> None:
    assert registered(rowwise, isolate_failures=True).isolate_failures
    assert registered(lists, batch=True, isolate_failures=True).isolate_failures


def test_a_model_has_the_options_of_its_app_but_for_its_own() -> None:
    app = BlazeApp(max_batch_size=8, batch_timeout_ms=5.0, max_queue_size=7, max_concurrency=3)
    app.model("as-the-app")(alone)
    app.model("own", max_batch_size=4, max_queue_size=0, enable_batching=False)(alone)
    assert app.registry.get("as-the-app").options == app.options
    assert app.registry.get("own").options == ExecutionOptions(
        enable_batching=False,
        max_batch_size=4,
        batch_timeout_ms=5.0,
        max_queue_size=0,
        max_concurrency=3,
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_batch_size", 0),
        ("max_batch_size", 1.5),
        ("max_batch_size", True),
        ("batch_timeout_ms", -1),
        ("batch_timeout_ms", "10"),
        ("max_queue_size", -1),
        ("max_concurrency", 0),
        ("enable_batching", 1),
    ],
)
def test_an_option_out_of_its_bounds_is_refused_by_name(option: str, value: object) -> None:
    options: dict[str, Any] = {option: value}
    with pytest.raises(ConfigurationError, match=f"^{option} is {value!r}; it must be "):
        BlazeApp().model("m", **options)
    with pytest.raises(ConfigurationError, match=f"^{option} is {value!r}; it must be "):
        BlazeApp(**options)


@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_a_bound_on_all_calls_is_at_least_one(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^max_concurrent_requests is "):
        BlazeApp(max_concurrent_requests=value)


# Classes.


class Digits:
    """Digits, from a file."""

    def __init__(self, path: str = "digits.bin") -> None:
        raise AssertionError("registration builds nothing")

    def __call__(self, x: Rows) -> Rows:
        return x


def test_a_class_is_the_model_that_its_call_is() -> None:
    app = BlazeApp()
    assert app.model("digits")(Digits) is Digits
    model = app.registry.get("digits")
    assert (model.factory, model.batching) == (Digits, Batching.ROWS)
    assert list(model.parameters) == ["x"]
    assert model.doc == "Digits, from a file."


def test_the_docstring_of_a_call_is_nearer_than_that_of_its_class() -> None:
    class Model:
        """The class."""

        def __call__(self, x: int) -> int:
            """Call it."""
            return x

    assert registered(Model).doc == "Call it."


def test_a_class_that_is_built_with_arguments_is_refused() -> None:
    class Model:
        def __init__(self, path: str, size: int = 3) -> None: ...

        def __call__(self, x: int) -> int:
            return x

    assert refusal(Model) == (
        "class Model is built without arguments; give 'path' of its constructor a default"
    )


def test_a_class_that_takes_any_arguments_is_built_without() -> None:
    class Model:
        def __init__(self, *args: object, **kwargs: object) -> None: ...

        def __call__(self, x: int) -> int:
            return x

    assert registered(Model).factory is Model


def test_a_class_without_a_call_is_refused() -> None:
    class Model: ...

    assert refusal(Model) == "class Model has no method __call__, which is the model"


def test_a_class_whose_call_takes_nothing_is_refused() -> None:
    class Model:
        def __call__(self) -> int:
            return 1

    assert refusal(Model) == "it takes no parameters; a model needs at least one"


def test_a_class_that_inherits_its_call_is_a_model() -> None:
    @dataclass
    class Base:
        scale: int = 2

        def __call__(self, x: int) -> int:
            return x * self.scale

    class Model(Base): ...

    assert list(registered(Model).parameters) == ["x"]
