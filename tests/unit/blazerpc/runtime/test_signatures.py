"""Which functions can be models, by their parameters and their results."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.unit.blazerpc.runtime.registration import refused, register, score, taking
from tests.unit.blazerpc.support import define

# Parameters.


USE = "use str, int, float, bool, bytes"
BY_NAME = "*args and **kwargs are not allowed; name each"


@pytest.mark.parametrize(
    ("signature", "where", "would_do"),
    [
        ("(text, count: int) -> float", "parameter 'text'", f"no annotation; {USE}"),
        ("(text: str, x: object) -> float", "parameter 'x'", f"object is not supported; {USE}"),
        ("(text: str, *others: str) -> float", "parameter 'others'", BY_NAME),
        ("(text: str, **others: str) -> float", "parameter 'others'", BY_NAME),
        ("(text: str, /) -> float", "parameter 'text'", "positional-only; remove the '/'"),
        ("(größe: int) -> float", "parameter 'größe'", "a name on the wire is ASCII; rename it"),
        ("(x: npt.NDArray[np.int8]) -> int", "parameter 'x'", "an array without a shape; write "),
        ("(x: np.ndarray[Any, Any]) -> int", "parameter 'x'", "an array without a shape; write "),
        ("(x: 'TensorInput[np.int8, -1]') -> int", "parameter 'x'", "-1 is no tensor dimension"),
        ("(text: str)", "result", f"no annotation; {USE}"),
        ("(text: str) -> None", "result", f"NoneType is not supported; {USE}"),
        ("(text: str) -> complex", "result", f"complex is not supported; {USE}"),
        ("(text: str) -> [int]", "result", f"[<class 'int'>] is not supported; {USE}"),
        ("(text: str) -> np.float16", "result", "np.float16 has no scalar type of its own"),
    ],
)
def test_a_bad_signature_is_refused_with_the_parameter_and_what_would_do(
    signature: str, where: str, would_do: str
) -> None:
    error = refused(define(f"def model{signature}: ..."))
    assert str(error).startswith(f"model 'my-model', {where}: {would_do}")
    assert error.field == ("return" if where == "result" else where.split("'")[1])


def test_a_model_without_parameters_is_refused() -> None:
    error = refused(define("def model() -> float: ..."))
    assert "it takes no parameters; a model needs at least one" in str(error)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [("Missing", "'Missing' is not defined"), ("np.flaot32", "no attribute 'flaot32'")],
)
def test_an_annotation_that_names_nothing_is_refused_with_its_parameter(
    annotation: str, reason: str
) -> None:
    error = refused(define(f"def model(text: str, x: {annotation!r}) -> float: ..."))
    assert str(error).startswith("model 'my-model', parameter 'x': ")
    assert reason in str(error)
    assert error.field == "x"


@pytest.mark.parametrize("name", ["SerializeToString", "HasField", "DESCRIPTOR", "FromString"])
def test_a_parameter_that_would_hide_what_messages_have_is_refused(name: str) -> None:
    error = refused(taking(name))
    assert "protobuf's messages have that name; rename it" in str(error)
    assert error.field == name


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
    model = define("def model(text: str, *, count: int) -> float: ...")
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


@pytest.mark.parametrize(
    ("result", "would_do"),
    [
        ("str", "a generator whose annotation is no stream; write Iterator[...]"),
        ("AsyncIterator[str]", "annotate this generator Iterator[...]"),
    ],
)
def test_a_callable_object_that_is_a_generator_follows_the_rules_of_generators(
    result: str, would_do: str
) -> None:
    letters = define(
        "class Letters:\n"
        f"    def __call__(self, text: str) -> {result}:\n"
        "        yield from text\n"
        "model = Letters()"
    )
    assert would_do in str(refused(letters))


def test_a_callable_object_that_is_a_generator_can_have_a_bare_type_when_it_is_said() -> None:
    letters = define(
        "class Letters:\n"
        "    def __call__(self, text: str) -> str:\n"
        "        yield from text\n"
        "model = Letters()"
    )
    assert register(letters, streaming=True).streaming


def test_a_class_that_cannot_be_called_is_no_model() -> None:
    class Table:
        pass

    message = "model 'my-model': class Table has no method __call__, which is the model"
    assert str(refused(Table)) == message


@pytest.mark.parametrize("value", [None, 3, "score", [score]], ids=repr)
def test_what_cannot_be_called_is_no_function(value: object) -> None:
    assert str(refused(value)) == f"model 'my-model': {value!r} is no function"


def test_a_lambda_has_no_annotations() -> None:
    error = refused(lambda text: 0.0)
    assert error.field == "text"
    assert "no annotation" in str(error)


@pytest.mark.parametrize(
    ("func", "would_do"),
    [
        (len, "positional-only"),
        (np.add, "positional-only"),
        (print, BY_NAME),
        (max, "its signature cannot be read; wrap it in a function"),
        (math.hypot, "its signature cannot be read; wrap it in a function"),
    ],
)
def test_a_builtin_is_refused(func: Callable[..., object], would_do: str) -> None:
    assert would_do in str(refused(func))


def test_a_partial_has_the_annotations_of_the_parameters_that_are_left() -> None:
    model = define("def model(scale: int, text: str) -> float: ...")
    assert dict(register(functools.partial(model, 3)).input_types) == {"text": str}


# Streams.


BARE = "a generator whose annotation is no stream; write "


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "definition",
    [
        "async def model(n: int) -> AsyncIterator[int]: yield n",
        "async def model(n: int) -> AsyncGenerator[int, None]: yield n",
        "async def model(n: int) -> collections.abc.AsyncIterable[int]: yield n",
        "def model(n: int) -> Iterator[int]: yield n",
        "def model(n: int) -> Iterable[int]: yield n",
        "def model(n: int) -> Generator[int, None, None]: yield n",
        "def model(n: int) -> 'Iterator[int]': yield n",
        "def model(n: int) -> Iterable[int]: return [n]",
        "def model(n: int) -> AsyncIterator[int]: return items(n)",
        "async def model(n: int) -> AsyncIterator[int]: return items(n)",
        "async def model(n: int) -> Iterator[int]: return iter([n])",
    ],
)
def test_a_stream_annotation_makes_a_stream(definition: str, streaming: bool) -> None:
    model = register(define(definition), streaming=streaming)
    assert model.streaming
    assert model.output_type is int
    assert str(model.result) == "int"


@pytest.mark.parametrize(
    ("item", "text"),
    [("TensorOutput[np.int64, 'n']", "int64 (n,)"), ("list[str]", "list[str]"), ("bytes", "bytes")],
)
def test_a_stream_can_be_of_any_type(item: str, text: str) -> None:
    model = register(define(f"async def model(n: int) -> AsyncIterator[{item}]: yield n"))
    assert str(model.result) == text


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_generator_with_a_bare_type_is_a_stream_when_it_is_said(keyword: str) -> None:
    model = register(define(f"{keyword} model(n: int) -> list[int]: yield [n]"), streaming=True)
    assert model.streaming
    assert str(model.result) == "list[int]"


@pytest.mark.parametrize(
    ("definition", "would_do"),
    [
        ("def model(n: int) -> int: yield n", f"{BARE}Iterator[...], or register it with strea"),
        ("async def model(n: int) -> int: yield n", f"{BARE}AsyncIterator[...], or register it"),
        ("def model(n: int) -> list[int]: yield n", f"{BARE}Iterator[...], or register it with"),
        ("def model(n: int): yield n", f"{BARE}Iterator[...], or register it with streaming=Tr"),
        ("def model(n: int) -> AsyncIterator[int]: yield n", "annotate this generator Iterator["),
        ("async def model(n: int) -> Iterator[int]: yield n", "annotate this generator AsyncIter"),
        ("def model(n: int) -> Iterator: yield n", "a stream of what? Write Iterator[str]"),
        ("async def model(n: int) -> AsyncIterator: yield n", "a stream of what? Write AsyncItera"),
        ("def model(n: int) -> Iterator[object]: yield n", f"object is not supported; {USE}"),
        (
            "def model(n: int) -> Iterator[Iterator[int]]: yield n",
            f"collections.abc.Iterator[int] is not supported; {USE}",
        ),
    ],
)
def test_a_generator_whose_annotation_is_no_stream_is_refused(
    definition: str, would_do: str
) -> None:
    error = refused(define(definition))
    assert str(error).startswith(f"model 'my-model', result: {would_do}")
    assert error.field == "return"


@pytest.mark.parametrize("func", [score, score_async, Scorer()])
def test_what_is_no_generator_is_no_stream_even_when_it_is_said(
    func: Callable[..., object],
) -> None:
    error = refused(func, streaming=True)
    assert str(error).startswith("model 'my-model', result: streaming=True takes a generator func")


def test_a_stream_without_an_annotation_is_refused_even_when_it_is_said() -> None:
    error = refused(define("def model(n: int): yield n"), streaming=True)
    assert str(error).startswith(f"model 'my-model', result: no annotation; {USE}")
