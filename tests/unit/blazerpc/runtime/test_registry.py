from __future__ import annotations

import collections.abc
import functools
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blazerpc import ModelNotFoundError, TensorInput, TensorOutput, ValidationError
from blazerpc.runtime import ModelInfo, ModelRegistry

# What the tests register: only the signatures matter.


def score(text: str) -> float:
    """Score a text.

    Higher is better.
    """
    return float(len(text))


def register(
    func: Callable[..., object],
    name: str = "my-model",
    version: str = "1",
    streaming: bool = False,
) -> ModelInfo:
    registry = ModelRegistry()
    registry.register(name, version, func, streaming)
    return registry.get(name, version)


def refused(func: Any, **options: Any) -> ValidationError:
    """Return the error of such a registration; it names the model, and leaves nothing behind."""
    registry = ModelRegistry()
    name = options.pop("name", "my-model")
    with pytest.raises(ValidationError) as caught:
        registry.register(name, options.pop("version", "1"), func, **options)
    assert str(caught.value).startswith(f"model {name!r}")
    assert registry.list_models() == []
    return caught.value


def taking(*names: str) -> Callable[..., object]:
    """Return a model with parameters of these names."""

    def model(**arguments: int) -> int:
        return 0

    parameters = dict.fromkeys(names, int)
    namespace: dict[str, Any] = {}
    exec(f"def model({', '.join(parameters)}): return 0", namespace)
    function: Callable[..., object] = namespace["model"]
    function.__annotations__ = {**parameters, "return": int}
    return function


def test_a_model_is_what_its_function_says() -> None:
    model = register(score)
    assert (model.name, model.version, model.streaming) == ("my-model", "1", False)
    assert model.func is score
    assert dict(model.input_types) == {"text": str}
    assert model.output_type is float
    assert {name: str(row) for name, row in model.parameters.items()} == {"text": "str"}
    assert str(model.result) == "float"
    assert model.doc == "Score a text.\n\nHigher is better."


def test_a_function_without_documentation_has_an_empty_one() -> None:
    assert register(taking("x")).doc == ""


def test_models_are_found_by_name_and_version() -> None:
    registry = ModelRegistry()
    registry.register("score", "1", score)
    registry.register("score", "2", score)
    assert registry.get("score").version == "1"
    assert registry.get("score", "2").version == "2"
    assert registry.get_or_none("score", "3") is None
    assert [model.version for model in registry.list_models()] == ["1", "2"]


@pytest.mark.parametrize(("name", "version"), [("score", "2"), ("nope", "1"), ("Score", "1")])
def test_a_model_that_is_not_there_is_named(name: str, version: str) -> None:
    registry = ModelRegistry()
    registry.register("score", "1", score)
    with pytest.raises(ModelNotFoundError, match=f"no model '{name}' of version '{version}'"):
        registry.get(name, version)


@pytest.mark.parametrize(
    ("name", "version", "rpc"),
    [
        ("my-model", "1", "PredictMyModel"),
        ("my_model", "1", "PredictMyModel"),
        ("my-model", "2", "PredictMyModelV2"),
        ("sentiment", "2024_01", "PredictSentimentV2024_01"),
        ("GPT", "1", "PredictGPT"),
        ("a", "1", "PredictA"),
        ("a1-b2", "beta", "PredictA1B2Vbeta"),
        ("a--b_", "1", "PredictAB"),
    ],
)
def test_the_rpc_is_named_after_name_and_version(name: str, version: str, rpc: str) -> None:
    model = register(score, name, version)
    assert model.rpc == rpc
    assert model.rpc == f"Predict{model.stem}"


@given(st.from_regex("[A-Za-z][A-Za-z0-9_-]*", fullmatch=True))
def test_every_name_of_letters_digits_and_dashes_is_allowed(name: str) -> None:
    model = register(score, name)
    assert model.name == name
    assert model.rpc.isidentifier()


@pytest.mark.parametrize(
    "name", ["", "1st", "-a", "_a", "a b", "a.b", "a/b", "größe", "a\n", "模型", "a:1"]
)
def test_a_name_that_makes_no_identifier_is_refused(name: str) -> None:
    error = refused(score, name=name)
    assert "a name has letters, digits, '-' and '_', and begins with a letter" in str(error)


@pytest.mark.parametrize("name", [None, 1, b"score", score], ids=repr)
def test_a_name_that_is_no_text_is_refused(name: Any) -> None:
    assert "a name has letters, digits" in str(refused(score, name=name))


@pytest.mark.parametrize("version", ["", "1.0", "a b", "v-1", "é", "1\n"])
def test_a_version_that_cannot_end_an_identifier_is_refused(version: str) -> None:
    error = refused(score, version=version)
    assert f"version {version!r}: use letters, digits and '_'" in str(error)


@pytest.mark.parametrize("version", [2, 1.5, None])
def test_a_version_that_is_no_text_is_refused(version: Any) -> None:
    error = refused(score, version=version)
    assert f"version {version!r}: use letters, digits and '_'" in str(error)


def test_one_name_and_version_is_registered_once() -> None:
    registry = ModelRegistry()
    registry.register("score", "1", score)
    with pytest.raises(ValidationError, match="model 'score': version '1' is registered already"):
        registry.register("score", "1", taking("x"))
    assert [model.func for model in registry.list_models()] == [score]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("my-model", "1"), ("my_model", "1")),
        (("my-model", "1"), ("MyModel", "1")),
        (("my-model", "1"), ("my--model", "1")),
        (("my-model", "1"), ("my-model-", "1")),
        (("model", "2"), ("model-V2", "1")),
        (("gpt", "1"), ("GPT", "1")),
        (("my-gpt", "1"), ("MyGPT", "1")),
    ],
)
def test_two_models_on_one_rpc_name_are_refused(
    first: tuple[str, str], second: tuple[str, str]
) -> None:
    registry = ModelRegistry()
    registry.register(*first, score)
    with pytest.raises(ValidationError) as caught:
        registry.register(*second, score)
    message = str(caught.value)
    assert message.startswith(f"model {second[0]!r}: its rpc Predict")
    assert f"would be that of model {first[0]!r}, version {first[1]!r}" in message
    assert message.endswith("choose another name or version")
    assert len(registry.list_models()) == 1


# Parameters.


def no_annotation(text, count: int) -> float: ...  # type: ignore[no-untyped-def]  # what is tested
def no_result(text: str): ...  # type: ignore[no-untyped-def]  # what is tested
def unsupported(text: str, options: object) -> float: ...  # type: ignore[empty-body]  # not called
def unsupported_result(text: str) -> complex: ...  # type: ignore[empty-body]  # not called
def list_result(text: str) -> [int]: ...  # type: ignore[valid-type]  # what is tested
def nothing(text: str) -> None: ...
def many(text: str, *others: str) -> float: ...  # type: ignore[empty-body]  # not called
def any_(text: str, **others: str) -> float: ...  # type: ignore[empty-body]  # not called
def positional(text: str, /, count: int) -> float: ...  # type: ignore[empty-body]  # not called
def none() -> float: ...  # type: ignore[empty-body]  # not called
def foreign(größe: int) -> float: ...  # type: ignore[empty-body]  # not called
def clashing(user_id: int, userId: int) -> float: ...  # type: ignore[empty-body]  # noqa: N803
def array(x: np.ndarray[Any, Any]) -> float: ...  # type: ignore[empty-body]  # not called


USE = "use str, int, float, bool, bytes"


@pytest.mark.parametrize(
    ("func", "where", "would_do"),
    [
        (no_annotation, "parameter 'text'", f"no annotation; {USE}"),
        (no_result, "result", f"no annotation; {USE}"),
        (unsupported, "parameter 'options'", f"object is not supported; {USE}"),
        (unsupported_result, "result", f"complex is not supported; {USE}"),
        (list_result, "result", f"[<class 'int'>] is not supported; {USE}"),
        (nothing, "result", f"NoneType is not supported; {USE}"),
        (many, "parameter 'others'", "*args and **kwargs are not allowed; name each"),
        (any_, "parameter 'others'", "*args and **kwargs are not allowed; name each"),
        (positional, "parameter 'text'", "positional-only; remove the '/'"),
        (foreign, "parameter 'größe'", "a name on the wire is ASCII; rename it"),
        (
            clashing,
            "parameter 'userId'",
            "protobuf's JSON name of it is also that of 'user_id'; rename one",
        ),
        (array, "parameter 'x'", "an array without a shape; write Annotated"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_signature_is_refused_with_the_parameter_and_what_would_do(
    func: Callable[..., object], where: str, would_do: str
) -> None:
    error = refused(func)
    assert str(error).startswith(f"model 'my-model', {where}: {would_do}")
    assert error.field == ("return" if where == "result" else where.split("'")[1])


def test_a_model_without_parameters_is_refused() -> None:
    assert "it takes no parameters; a model needs at least one" in str(refused(none))


def test_an_annotation_that_names_nothing_is_refused_with_its_parameter() -> None:
    def model(text: str, other: Missing) -> float: ...  # type: ignore[empty-body, name-defined]  # what is tested

    error = refused(model)
    assert error.field == "other"
    assert "'Missing' is not defined" in str(error)


def test_an_attribute_that_is_not_there_is_refused_with_its_parameter() -> None:
    def model(x: np.flaot32) -> float: ...  # type: ignore[empty-body, name-defined]  # what is tested

    error = refused(model)
    assert error.field == "x"
    assert "flaot32" in str(error)


def test_a_bad_dimension_is_refused_with_its_parameter() -> None:
    def model(text: str, x: TensorInput[np.float32, "batch size"]) -> float: ...  # type: ignore[empty-body]  # not called

    error = refused(model)
    assert error.field == "x"
    assert "'batch size' is no tensor dimension" in str(error)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("user_id", "userId"),
        ("a_1", "a1"),
        ("a_b", "a__b"),
        ("a", "a_"),
        ("_", "__"),
        ("_a", "A"),
        ("to_json", "toJson"),
    ],
)
def test_parameters_of_one_json_name_are_refused(one: str, other: str) -> None:
    error = refused(taking(one, other))
    assert error.field == other
    assert f"that of {one!r}; rename one" in str(error)


@pytest.mark.parametrize("names", [("a", "A"), ("user_id", "user_ID"), ("userid", "userId")])
def test_parameters_that_differ_in_their_json_names_are_allowed(names: tuple[str, str]) -> None:
    assert tuple(register(taking(*names)).parameters) == names


def test_keyword_only_parameters_are_allowed() -> None:
    def model(text: str, *, count: int) -> float: ...  # type: ignore[empty-body]  # not called

    assert list(register(model).parameters) == ["text", "count"]


# What can be a model at all.


class Scorer:
    """A model that keeps something."""

    def __call__(self, text: str) -> float:
        return 0.0

    def score(self, text: str) -> float:
        return 0.0

    @classmethod
    def make(cls, text: str) -> float:
        return 0.0

    @staticmethod
    def plain(text: str) -> float:
        return 0.0


class AsyncScorer:
    async def __call__(self, text: str) -> float:
        return 0.0


class Letters:
    def __call__(self, text: str) -> Iterator[str]:
        yield from text


class BareLetters:
    def __call__(self, text: str) -> str:  # type: ignore[misc]  # a bare type on a generator
        yield from text


class MismatchedLetters:
    def __call__(self, text: str) -> AsyncIterator[str]:  # type: ignore[misc]  # what is tested
        yield from text


@functools.wraps(score)
def wrapped(*arguments: Any, **named: Any) -> float:
    return score(*arguments, **named)


async def score_async(text: str) -> float:
    return 0.0


@pytest.mark.parametrize(
    "func",
    [
        score,
        score_async,
        Scorer(),
        AsyncScorer(),
        Scorer().score,
        Scorer.make,
        Scorer.plain,
        wrapped,
        functools.lru_cache(score),
    ],
)
def test_whatever_is_called_by_names_can_be_a_model(func: Callable[..., object]) -> None:
    model = register(func)
    assert dict(model.input_types) == {"text": str}
    assert model.output_type is float
    assert not model.streaming


def test_a_callable_object_can_be_a_stream() -> None:
    assert register(Letters()).streaming


def test_a_callable_object_that_is_a_generator_follows_the_rules_of_generators() -> None:
    assert "a generator whose annotation is no stream" in str(refused(BareLetters()))
    assert register(BareLetters(), streaming=True).streaming
    assert "annotate this generator Iterator[...]" in str(refused(MismatchedLetters()))


def test_a_class_is_no_function() -> None:
    assert str(refused(Scorer)).endswith("Scorer'> is no function")


@pytest.mark.parametrize("value", [None, 3, "score", [score]], ids=repr)
def test_what_cannot_be_called_is_no_function(value: object) -> None:
    assert str(refused(value)) == f"model 'my-model': {value!r} is no function"


def test_a_lambda_has_no_annotations() -> None:
    error = refused(lambda text: 0.0)
    assert error.field == "text"
    assert "no annotation" in str(error)


@pytest.mark.parametrize("func", [len, print, max, math.hypot, np.add], ids=str)
def test_a_builtin_is_refused(func: Callable[..., object]) -> None:
    assert refused(func)


def test_a_function_whose_signature_is_unknown_is_refused_with_the_mend() -> None:
    assert "its signature cannot be read; wrap it in a function" in str(refused(max))


def test_a_partial_has_the_annotations_of_the_parameters_that_are_left() -> None:
    def model(scale: int, text: str) -> float: ...  # type: ignore[empty-body]  # not called

    assert dict(register(functools.partial(model, 3)).input_types) == {"text": str}


# Streams.


async def agen() -> AsyncIterator[int]:
    yield 0


async def async_items(n: int) -> AsyncIterator[int]:
    yield n


async def async_generator(n: int) -> AsyncGenerator[int, None]:
    yield n


def items(n: int) -> Iterator[int]:
    yield n


def iterable(n: int) -> Iterable[int]:
    yield n


def generator(n: int) -> Generator[int, None, None]:
    yield n


def list_of_items(n: int) -> Iterable[int]:
    return [n]


def async_from_function(n: int) -> AsyncIterator[int]:
    return agen()


async def coroutine_of_async_items(n: int) -> AsyncIterator[int]:
    return agen()


async def coroutine_of_items(n: int) -> Iterator[int]:
    return iter([n])


async def tensors(n: int) -> AsyncIterator[TensorOutput[np.int64, "n"]]:
    yield np.zeros(n, np.int64)


STREAMS = [
    async_items,
    async_generator,
    items,
    iterable,
    generator,
    list_of_items,
    async_from_function,
    coroutine_of_async_items,
    coroutine_of_items,
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("func", STREAMS)
def test_a_stream_annotation_makes_a_stream(func: Callable[..., object], streaming: bool) -> None:
    model = register(func, streaming=streaming)
    assert model.streaming
    assert model.output_type is int
    assert str(model.result) == "int"


def test_a_stream_can_be_of_tensors() -> None:
    assert str(register(tensors).result) == "int64 (n,)"


def bare(n: int) -> int:  # type: ignore[misc]  # a bare type on a generator
    yield n


async def bare_async(n: int) -> int:  # type: ignore[misc]  # a bare type on a generator
    yield n


def bare_list(n: int) -> list[int]:  # type: ignore[misc]  # a bare type on a generator
    yield [n]


@pytest.mark.parametrize("func", [bare, bare_async])
def test_a_generator_with_a_bare_type_is_a_stream_when_it_is_said(
    func: Callable[..., object],
) -> None:
    model = register(func, streaming=True)
    assert model.streaming
    assert model.output_type is int


def test_the_items_of_a_stream_can_be_lists() -> None:
    assert str(register(bare_list, streaming=True).result) == "list[int]"


def sync_as_async(n: int) -> AsyncIterator[int]:  # type: ignore[misc]  # what is tested
    yield n


async def async_as_sync(n: int) -> Iterator[int]:  # type: ignore[misc]  # what is tested
    yield n


def of_nothing(n: int) -> Iterator:  # type: ignore[type-arg]  # what is tested
    yield n


async def async_of_nothing(n: int) -> collections.abc.AsyncIterator:  # type: ignore[type-arg]  # what is tested
    yield n


def of_streams(n: int) -> Iterator[Iterator[int]]:
    yield iter([n])


def unannotated(n: int):  # type: ignore[no-untyped-def]  # what is tested
    yield n


@pytest.mark.parametrize(
    ("func", "would_do"),
    [
        (bare, "a generator whose annotation is no stream; write Iterator[...], or register it"),
        (bare_async, "a generator whose annotation is no stream; write AsyncIterator[...], or "),
        (bare_list, "a generator whose annotation is no stream; write Iterator[...], or register"),
        (unannotated, "a generator whose annotation is no stream; write Iterator[...], or regis"),
        (sync_as_async, "annotate this generator Iterator[...]"),
        (async_as_sync, "annotate this generator AsyncIterator[...]"),
        (of_nothing, "a stream of what? Write Iterator[str]"),
        (async_of_nothing, "a stream of what? Write AsyncIterator[str]"),
        (of_streams, "collections.abc.Iterator[int] is not supported; use str"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_generator_whose_annotation_is_no_stream_is_refused(
    func: Callable[..., object], would_do: str
) -> None:
    error = refused(func)
    assert str(error).startswith(f"model 'my-model', result: {would_do}")
    assert error.field == "return"


@pytest.mark.parametrize("func", [score, score_async, Scorer()])
def test_what_is_no_generator_is_no_stream_even_when_it_is_said(
    func: Callable[..., object],
) -> None:
    error = refused(func, streaming=True)
    assert "streaming=True takes a generator function, or a result annotated" in str(error)
    assert error.field == "return"


def test_a_stream_without_an_annotation_is_refused_even_when_it_is_said() -> None:
    error = refused(unannotated, streaming=True)
    assert "result: no annotation" in str(error)
