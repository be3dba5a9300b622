"""Functions of a framework's tensors, as models of arrays.

The decorated function takes arrays as well as tensors, and gives what its annotation says: tensors
to whoever calls a function that is annotated with them, arrays otherwise. A server calls its served
form (``runtime/served.py``), whose annotations are those of arrays, and which always gives arrays.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
)
from contextlib import AbstractContextManager, aclosing, closing, nullcontext
from functools import cache, partial, reduce, wraps
from operator import or_
from types import UnionType, coroutine
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin

import numpy as np

from blazerpc.exceptions import ValidationError
from blazerpc.rows import TensorRow, row_of, walk
from blazerpc.rows.tensors import of_framework
from blazerpc.runtime.served import Served, serve_as
from blazerpc.types import MISSING, extract_type_info

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")

_END: Final = object()

#: Turns one value into another, in lists, tuples and dicts too.
Convert = Callable[[object], object]


class Bridge(ABC):
    """Between arrays and the tensors of one framework.

    Args:
        tensor: the framework's class of tensors, as it stands in annotations.
    """

    def __init__(self, tensor: type) -> None:
        self.tensor: type = tensor

    @abstractmethod
    def load(self, value: object) -> object:
        """Return an argument as the function gets it: an array or tensor as a tensor."""

    @abstractmethod
    def dump(self, value: object, dtype: np.dtype[Any] | None) -> object:
        """Return a result as the server gets it: a tensor as an array.

        Args:
            value: that the function gave.
            dtype: of the array, as the annotation has it; None when that says nothing.
        """

    def scope(self) -> AbstractContextManager[object]:
        """Return the context in which the function's code runs."""
        return nullcontext()

    def check(self) -> None:
        """Raise ``ConfigurationError`` when functions cannot run here."""
        return


def bridged(target: F, bridge: Bridge) -> F:
    """Return a function that takes arrays and tensors; of a class, the same with such a call.

    Raises:
        ValidationError: for a class without a method ``__call__``.
    """
    if not isinstance(target, type):
        return cast(F, _decorated(target, bridge))
    call: Any = getattr(target, "__call__", None)  # noqa: B004 - the method is what is wanted
    if not inspect.isfunction(call):
        raise ValidationError(f"class {target.__name__} has no method __call__, which is the model")
    setattr(target, "__call__", _decorated(call, bridge))  # noqa: B010 - mypy knows no such slot
    return target


def _decorated(function: Callable[..., object], bridge: Bridge) -> Callable[..., object]:
    """Return the function for those who call it, which knows how it is served."""

    @cache
    def result_of_caller() -> Convert:
        # Asked for at the first call: an annotation can name what is defined after the function.
        if _mentions(extract_type_info(function)["output"], bridge.tensor):
            return _unchanged
        return partial(_each, partial(bridge.dump, dtype=None))

    @cache
    def form() -> Callable[..., object]:
        info = extract_type_info(function)
        kinds = {**info["inputs"], "return": info["output"]}
        annotations = {
            name: _annotation(name, kind, bridge.tensor)
            for name, kind in kinds.items()
            if kind is not MISSING
        }
        dump = partial(bridge.dump, dtype=_dtype(annotations.get("return")))
        served = _wrapped(function, bridge, lambda: partial(_each, dump))
        served.__annotations__ = annotations
        return served

    return serve_as(_wrapped(function, bridge, result_of_caller), Served(form, bridge.check))


def _wrapped(
    function: Callable[..., object], bridge: Bridge, result: Callable[[], Convert]
) -> Callable[..., object]:
    """Return a function of the same kind that converts arguments and results."""
    load = partial(_each, bridge.load)

    def called(args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
        given = [load(value) for value in args]
        return function(*given, **{name: load(value) for name, value in kwargs.items()})

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def run_async(*args: object, **kwargs: object) -> object:
            returned = cast(Awaitable[object], called(args, kwargs))
            return result()(await _in_scope(returned, bridge))

        return run_async
    if inspect.isasyncgenfunction(function):

        @wraps(function)
        async def iterate_async(*args: object, **kwargs: object) -> AsyncIterator[object]:
            items = cast(AsyncIterator[object], called(args, kwargs))
            async with aclosing(_async_items(items, result(), bridge)) as converted:
                async for item in converted:
                    yield item

        return iterate_async
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def iterate(*args: object, **kwargs: object) -> Iterator[object]:
            items = cast(Iterator[object], called(args, kwargs))
            with closing(_items(items, result(), bridge)) as converted:
                yield from converted

        return iterate

    @wraps(function)
    def run(*args: object, **kwargs: object) -> object:
        with bridge.scope():
            return _returned(called(args, kwargs), result(), bridge)

    return run


def _returned(value: object, convert: Convert, bridge: Bridge) -> object:
    """Return what a plain function gave; it can be a stream, or something to await."""
    if isinstance(value, Iterator):
        return _items(value, convert, bridge)
    if isinstance(value, AsyncIterator):
        return _async_items(value, convert, bridge)
    if inspect.isawaitable(value):
        return _awaited(value, convert, bridge)
    return convert(value)


async def _awaited(value: Awaitable[object], convert: Convert, bridge: Bridge) -> object:
    return convert(await _in_scope(value, bridge))


def _items(
    items: Iterator[object], convert: Convert, bridge: Bridge
) -> Generator[object, None, None]:
    try:
        while True:
            # Not around the yield: the scope is of a thread, which others use meanwhile.
            with bridge.scope():
                item = next(items, _END)
                if item is _END:
                    return
                converted = convert(item)
            yield converted
    finally:
        if isinstance(items, Generator):
            with bridge.scope():
                items.close()


async def _async_items(
    items: AsyncIterator[object], convert: Convert, bridge: Bridge
) -> AsyncGenerator[object, None]:
    try:
        while True:
            item = await _in_scope(anext(items, _END), bridge)
            if item is _END:
                return
            yield convert(item)
    finally:
        if isinstance(items, AsyncGenerator):
            await _in_scope(items.aclose(), bridge)


@coroutine
def _in_scope(awaitable: Awaitable[T], bridge: Bridge) -> Generator[Any, Any, T]:
    """Await something whose code runs in the bridge's scope.

    The scope is left while it waits: it is of the thread, which then runs other tasks.
    """
    steps = awaitable.__await__()
    resume: Callable[[], Any] = partial(next, steps)
    while True:
        try:
            with bridge.scope():
                waited = resume()
        except StopIteration as end:
            returned: T = end.value
            return returned
        try:
            yield waited
        except BaseException as error:  # a cancellation, too, belongs to what is awaited
            throw = getattr(steps, "throw", None)
            if throw is None:
                raise
            resume = partial(throw, error)
        else:
            resume = partial(next, steps)


def _each(convert: Convert, value: object) -> object:
    """Return ``value`` converted, or its items."""
    if isinstance(value, list):
        return [_each(convert, item) for item in value]
    if type(value) is tuple:
        return tuple(_each(convert, item) for item in value)
    if isinstance(value, dict):
        return {key: _each(convert, item) for key, item in value.items()}
    return convert(value)


def _unchanged(value: object) -> object:
    return value


def _mentions(annotation: object, tensor: type) -> bool:
    """Return whether the framework's tensors stand anywhere in an annotation."""
    if tensor in (annotation, getattr(annotation, "array_type", None)):  # jaxtyping's attribute
        return True
    return any(_mentions(kind, tensor) for kind in get_args(annotation))


def _annotation(name: str, annotation: object, tensor: type) -> object:
    try:
        return _with_arrays(annotation, tensor)
    except ValidationError as error:
        raise ValidationError(str(error), field=name) from None


def _with_arrays(annotation: Any, tensor: type) -> Any:
    """Return an annotation with arrays in the place of the framework's tensors, however deep."""
    array = of_framework(annotation, tensor)
    if array is not None:
        return array
    arguments = get_args(annotation)
    kinds = tuple(_with_arrays(kind, tensor) for kind in arguments)
    if kinds == arguments:
        return annotation
    origin = get_origin(annotation)
    return reduce(or_, kinds) if origin in (Union, UnionType) else origin[kinds]


def _dtype(annotation: Any) -> np.dtype[Any] | None:
    """Return the one dtype of the arrays in a result's annotation; None for none or several."""
    if annotation is None:
        return None
    stream = isinstance(get_origin(annotation), type) and issubclass(
        get_origin(annotation), Iterator | AsyncIterator
    )
    try:
        parts = walk(row_of(get_args(annotation)[0] if stream else annotation))
        dtypes = {part.spec.dtype for part in parts if isinstance(part, TensorRow)}
    except ValidationError:  # whoever registers it is told
        return None
    return dtypes.pop() if len(dtypes) == 1 else None
