"""What a function's signature says of the model that it is."""

from __future__ import annotations

import collections.abc
import inspect
import re
from collections.abc import Callable, Mapping
from functools import partial, reduce
from operator import or_
from types import MappingProxyType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from blazerpc.config import ExecutionOptions, Resources
from blazerpc.context import Context, Dependency
from blazerpc.exceptions import ValidationError
from blazerpc.rows import (
    ACCEPTED,
    Row,
    StructRow,
    TensorRow,
    omissible,
    refuse_endless,
    refuse_same_json_name,
    row_of,
    walk,
)
from blazerpc.runtime.model import Batching, Injected, ModelInfo
from blazerpc.runtime.served import served_as, served_form
from blazerpc.types import MISSING, extract_type_info, plain_function, unaliased
from blazerpc_client.naming import MESSAGE_NAMES
from blazerpc_client.wire.errors import WireError

#: The symbolic dimension along which the rows of many requests follow each other.
BATCH: Final = "batch"

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_VERSION: Final = re.compile(r"[A-Za-z0-9_]+")
_ASCII_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_ASYNC_STREAMS: Final = frozenset(
    {
        collections.abc.AsyncIterator,
        collections.abc.AsyncIterable,
        collections.abc.AsyncGenerator,
    }
)
_STREAMS: Final = _ASYNC_STREAMS | {
    collections.abc.Iterator,
    collections.abc.Iterable,
    collections.abc.Generator,
}


def inspected(
    name: str,
    version: str,
    target: Callable[..., object],
    *,
    streaming: bool,
    batch: bool,
    isolate_failures: bool,
    options: ExecutionOptions,
    resources: Resources,
    idempotent: bool,
) -> ModelInfo:
    """Return the model that ``target`` is, as ``ModelRegistry.register`` describes it.

    Raises:
        ValidationError: with the parameter as its field, when it is about one.
    """
    _refuse_name(name, version)
    func, factory, check = _function(target)
    info = extract_type_info(func)
    injected = _injected(func, info["inputs"])
    inputs = {name: kind for name, kind in info["inputs"].items() if name not in injected.names}
    _refuse_parameters(func, inputs)
    output, is_stream = _result(func, info["output"], streaming)
    defaults = _defaults(func, inputs)
    if batch:
        inputs, output = _of_one_request(inputs, output, defaults, is_stream)
    parameters = {
        name: _with_default(_row(annotation, name), name, defaults)
        for name, annotation in inputs.items()
    }
    result = _row(output, "return")
    rowwise = not is_stream and all(map(_is_rowwise, [*parameters.values(), result]))
    if isolate_failures and not (batch or rowwise):
        raise ValidationError("isolate_failures is for models that are batched; leave it out")
    batching = Batching.LISTS if batch else Batching.NONE
    if rowwise and not batch and options.enable_batching:
        batching = Batching.ROWS
    if batching is not Batching.NONE:
        _refuse_context(injected, batching)
    return ModelInfo(
        name=name,
        version=version,
        func=func,
        factory=factory,
        check=check,
        streaming=is_stream,
        batching=batching,
        isolate_failures=isolate_failures,
        options=options,
        resources=resources,
        idempotent=idempotent,
        input_types=MappingProxyType(inputs),
        output_type=output,
        parameters=MappingProxyType(parameters),
        defaults=MappingProxyType(defaults),
        injected=injected,
        result=result,
        doc=_doc(func, factory),
    )


def _refuse_name(name: object, version: object) -> None:
    if not _matches(_NAME, name):
        raise ValidationError("a name has letters, digits, '-' and '_', and begins with a letter")
    if not _matches(_VERSION, version):
        raise ValidationError(f"version {version!r}: use letters, digits and '_'")


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


def _function(
    target: Callable[..., object],
) -> tuple[Callable[..., object], Callable[[], object] | None, Callable[[], None] | None]:
    """Return what is called for each request, the class that it is a method of, and its check."""
    if not callable(target):
        raise ValidationError(f"{target!r} is no function")
    if not isinstance(target, type):
        try:
            inspect.signature(target)
        except ValueError:
            raise ValidationError("its signature cannot be read; wrap it in a function") from None
        served = served_as(target)
        return served_form(target), None, None if served is None else served.check
    call: Any = getattr(target, "__call__", None)  # noqa: B004 - the method is what is wanted
    if not inspect.isfunction(call):
        raise ValidationError(f"class {target.__name__} has no method __call__, which is the model")
    for parameter in inspect.signature(target).parameters.values():
        optional = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not optional and parameter.default is parameter.empty:
            raise ValidationError(
                f"class {target.__name__} is built without arguments; give {parameter.name!r} of "
                "its constructor a default"
            )
    served = served_as(call)
    check = None if served is None else served.check
    return partial(served_form(call), None), target, check


def _defaults(func: Callable[..., object], inputs: Mapping[str, object]) -> dict[str, object]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(func).parameters.items()
        if name in inputs and parameter.default is not parameter.empty
    }


def _doc(func: Callable[..., object], factory: Callable[[], object] | None) -> str:
    if factory is None:
        doc = inspect.getdoc(func) or ""
    else:
        doc = inspect.cleandoc(plain_function(func).__doc__ or factory.__doc__ or "")
    # protobuf takes no lone surrogates, and a model is not refused for its documentation.
    return doc.encode(errors="replace").decode()


def _injected(func: Callable[..., object], annotations: Mapping[str, object]) -> Injected:
    """Return which parameters are not on the wire."""
    dependencies: dict[str, Dependency] = {}
    for name, parameter in inspect.signature(func).parameters.items():
        marks = [parameter.default]
        if get_origin(annotations[name]) is Annotated:
            marks += get_args(annotations[name])[1:]
        for mark in marks:
            if isinstance(mark, Dependency):
                dependencies[name] = mark
                _refuse_dependency(mark, name)
    context = tuple(name for name, annotation in annotations.items() if annotation is Context)
    return Injected(context=context, dependencies=MappingProxyType(dependencies))


def takes_context(dependency: Dependency) -> bool:
    """Return whether the function of a dependency takes the call's ``Context``."""
    return bool(_required(dependency.fn))


def _required(function: Callable[..., object]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # a function of C
        return []
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in parameters if p.default is p.empty and p.kind not in variable]


def _refuse_dependency(dependency: Dependency, field: str) -> None:
    if not callable(dependency.fn):
        raise ValidationError("Depends takes a function", field=field)
    fn: Any = dependency.fn
    # A class is called with what its constructor takes.
    function = getattr(fn, "__init__", fn) if isinstance(fn, type) else fn
    required = _required(fn)
    for parameter in required:
        annotation = extract_type_info(function)["inputs"].get(parameter.name, MISSING)
        keyword = parameter.kind is parameter.KEYWORD_ONLY
        if len(required) > 1 or keyword or annotation not in (Context, MISSING):
            raise ValidationError("a function in Depends takes a Context, or nothing", field=field)


def _refuse_context(injected: Injected, batching: Batching) -> None:
    """Raise for what is of one call in a model that is called for many of them."""
    rowwise = batching is Batching.ROWS
    mend = "register the model with enable_batching=False" if rowwise else "leave out batch=True"
    mend = f"take it out, or {mend}"
    for name in injected.context:
        raise ValidationError(
            f"a Context is of one call, and this model is called once for many of them; {mend}",
            field=name,
        )
    for name, dependency in injected.dependencies.items():
        if takes_context(dependency):
            raise ValidationError(
                f"what it depends on takes the Context of one call, and this model is called once "
                f"for many of them; {mend}",
                field=name,
            )


def _of_one_request(
    inputs: Mapping[str, object], output: object, defaults: Mapping[str, object], streaming: bool
) -> tuple[dict[str, object], object]:
    """Return the types of one request and its result, of a function that takes lists of them."""
    if streaming:
        raise ValidationError("a stream cannot be batched; leave out batch=True", field="return")
    for name in defaults:
        raise ValidationError(
            "a default would be that of the whole batch; write list[T | None]", field=name
        )
    items = {name: _item(annotation, name) for name, annotation in inputs.items()}
    return items, _without_exception(_item(output, "return"))


def _item(annotation: object, field: str) -> object:
    if get_origin(annotation) is not list:
        raise ValidationError(
            "batch=True takes and returns lists with a value for each request; write list[T]",
            field=field,
        )
    item: object = get_args(annotation)[0]
    return item


def _without_exception(annotation: object) -> object:
    """Return R of ``R | Exception``, which says that single requests may fail."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    kinds = [kind for kind in get_args(annotation) if kind is not Exception]
    return reduce(or_, kinds) if kinds else annotation


def _is_rowwise(row: Row) -> bool:
    return isinstance(row, TensorRow) and row.spec.shape[:1] == (BATCH,)


def _row(annotation: object, field: str) -> Row:
    if annotation is MISSING:
        raise ValidationError(f"no annotation; use {ACCEPTED}", field=field)
    try:
        row = row_of(annotation)
        for part in walk(row):  # looks into every class inside
            if isinstance(part, StructRow):
                refuse_endless(part)
    except (ValidationError, WireError) as error:
        raise ValidationError(str(error), field=field) from None
    return row


def _with_default(row: Row, field: str, defaults: Mapping[str, object]) -> Row:
    if field not in defaults:
        return row
    try:
        row.default_json(defaults[field])
        return omissible(row)
    except (ValidationError, WireError) as error:
        raise ValidationError(f"default value: {error}", field=field) from None


def _refuse_parameters(func: Callable[..., object], inputs: Mapping[str, object]) -> None:
    """Raise for a signature that cannot be called by name with what a request holds."""
    if not inputs:
        raise ValidationError("it takes no parameters; a model needs at least one")
    json_names: dict[str, str] = {}
    for name, parameter in inspect.signature(func).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValidationError("*args and **kwargs are not allowed; name each", field=name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ValidationError("positional-only; remove the '/'", field=name)
        if name not in inputs:
            continue
        if not _ASCII_IDENTIFIER.fullmatch(name):
            raise ValidationError("a name on the wire is ASCII; rename it", field=name)
        if name in MESSAGE_NAMES:
            raise ValidationError("protobuf's messages have that name; rename it", field=name)
        try:
            refuse_same_json_name(name, json_names)
        except ValidationError as error:
            raise ValidationError(str(error), field=name) from None


def _result(
    func: Callable[..., object], annotation: object, streaming: bool
) -> tuple[object, bool]:
    """Return the annotation of one result, and whether results are a stream."""
    function = plain_function(func)
    asynchronous = inspect.isasyncgenfunction(function)
    generator = asynchronous or inspect.isgeneratorfunction(function)
    stream = "AsyncIterator" if asynchronous else "Iterator"
    annotation = unaliased(annotation)
    kind: object = get_origin(annotation) or annotation
    if isinstance(kind, type) and kind in _STREAMS:
        if generator and (kind in _ASYNC_STREAMS) is not asynchronous:
            raise ValidationError(f"annotate this generator {stream}[...]", field="return")
        items = get_args(annotation)
        if not items:
            raise ValidationError(f"a stream of what? Write {stream}[str]", field="return")
        return items[0], True
    if generator and not streaming:
        raise ValidationError(
            f"a generator whose annotation is no stream; write {stream}[...], "
            "or register it with streaming=True",
            field="return",
        )
    if streaming and not generator:
        raise ValidationError(
            "streaming=True takes a generator function, or a result annotated Iterator[...] or "
            "AsyncIterator[...]",
            field="return",
        )
    return annotation, streaming
