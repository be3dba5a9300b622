"""Which models there are, and what their annotations say. Registration calls nothing of theirs."""

from __future__ import annotations

import collections.abc
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, get_args, get_origin

from blazerpc.exceptions import ModelNotFoundError, ValidationError
from blazerpc.rows import ACCEPTED, EnumRow, Row, StructRow, omissible, row_of, walk
from blazerpc.types import MISSING, extract_type_info, plain_function
from blazerpc_client.naming import MESSAGE_NAMES, method_name
from blazerpc_client.wire.errors import WireError

#: What the names of a model's messages end in, and names that the schema has anyway.
_MESSAGES: Final = ("Request", "Response")
_RESERVED: Final = (
    "TensorProto",
    "InferenceService",
    "TensorOptions",
    "ModelOptions",
    "ParamOptions",
)

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


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A registered model.

    Attributes:
        name: under which it is called.
        version: likewise; "1" is the one that names nothing else.
        func: the function.
        streaming: whether it gives a stream of results.
        input_types: the annotation of each parameter, in order.
        output_type: the annotation of the result, or of one result of the stream.
        parameters: what each of ``input_types`` means.
        defaults: of the parameters that have one.
        result: what ``output_type`` means.
        doc: the function's docstring, "" when it has none.
    """

    name: str
    version: str
    func: Callable[..., object]
    streaming: bool
    input_types: Mapping[str, Any]
    output_type: Any
    parameters: Mapping[str, Row]
    defaults: Mapping[str, object]
    result: Row
    doc: str

    @property
    def stem(self) -> str:
        """What the names of its rpc and messages are made of: ``MyModel``, ``MyModelV2``."""
        words = re.split("[-_]", self.name)
        stem = "".join(word[:1].upper() + word[1:] for word in words)
        return stem if self.version == "1" else f"{stem}V{self.version}"

    @property
    def rpc(self) -> str:
        """The name of its rpc."""
        return f"Predict{self.stem}"

    @property
    def rows(self) -> list[Row]:
        """What its parameters and its result mean."""
        return [*self.parameters.values(), self.result]

    @property
    def classes(self) -> list[StructRow | EnumRow]:
        """The classes that its parameters and its result are made of, each once."""
        parts = (part for row in self.rows for part in walk(row))
        found = {part.kind: part for part in parts if isinstance(part, StructRow | EnumRow)}
        return list(found.values())


class ModelRegistry:
    """All models of an app, by name and version."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelInfo] = {}

    def register(
        self, name: str, version: str, func: Callable[..., object], streaming: bool = False
    ) -> None:
        """Add a model.

        Args:
            name: letters, digits, ``-`` and ``_``, a letter first.
            version: letters, digits and ``_``.
            func: whose annotations say what it takes and gives.
            streaming: a generator function annotated with the type of one item is a stream.

        Raises:
            ValidationError: naming the model, the parameter, and what would do.
        """
        try:
            model = _model_info(name, version, func, streaming)
            self._refuse_duplicate(model)
        except ValidationError as error:
            where = f"model {name!r}"
            if error.field is not None:
                where += ", result" if error.field == "return" else f", parameter {error.field!r}"
            raise ValidationError(f"{where}: {error}", field=error.field or name) from None
        self._models[name, version] = model

    def get(self, name: str, version: str = "1") -> ModelInfo:
        """Return a model.

        Raises:
            ModelNotFoundError: when there is none of that name and version.
        """
        model = self.get_or_none(name, version)
        if model is None:
            raise ModelNotFoundError(name, version)
        return model

    def get_or_none(self, name: str, version: str = "1") -> ModelInfo | None:
        """Return a model, None when there is none of that name and version."""
        return self._models.get((name, version))

    def list_models(self) -> list[ModelInfo]:
        """Return all models, in the order of their registration."""
        return list(self._models.values())

    def _refuse_duplicate(self, model: ModelInfo) -> None:
        if (model.name, model.version) in self._models:
            raise ValidationError(f"version {model.version!r} is registered already")
        for other in self._models.values():
            # The client's method is compared too: PredictGPT and PredictGpt are one name there.
            if method_name(other.rpc) == method_name(model.rpc):
                raise ValidationError(
                    f"its rpc {model.rpc} would be that of model {other.name!r}, version "
                    f"{other.version!r}; choose another name or version"
                )
        self._refuse_names(model)

    def _refuse_names(self, model: ModelInfo) -> None:
        """Raise for names that the schema would have twice."""
        models = [*self._models.values(), model]
        taken = {f"{m.stem}{end}": f"of model {m.name!r}" for m in models for end in _MESSAGES}
        taken |= dict.fromkeys(_RESERVED, "of BlazeRPC itself")
        known: dict[str, type] = {}
        for each in models:
            for row in each.classes:
                if row.name in taken:
                    raise ValidationError(
                        f"class {row.name} has the name of a message {taken[row.name]}; rename it"
                    )
                other = known.setdefault(row.name, row.kind)
                if other is not row.kind:
                    raise ValidationError(
                        f"two classes are called {row.name}, {_full_name(other)} and "
                        f"{_full_name(row.kind)}; rename one"
                    )


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _model_info(name: str, version: str, func: Callable[..., object], streaming: bool) -> ModelInfo:
    if not _matches(_NAME, name):
        raise ValidationError("a name has letters, digits, '-' and '_', and begins with a letter")
    if not _matches(_VERSION, version):
        raise ValidationError(f"version {version!r}: use letters, digits and '_'")
    _refuse_target(func)
    _refuse_parameters(func)
    info = extract_type_info(func)
    output, is_stream = _result(func, info["output"], streaming)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(func).parameters.items()
        if parameter.default is not parameter.empty
    }
    parameters = {
        name: _with_default(_row(annotation, name), name, defaults)
        for name, annotation in info["inputs"].items()
    }
    return ModelInfo(
        name=name,
        version=version,
        func=func,
        streaming=is_stream,
        input_types=MappingProxyType(info["inputs"]),
        output_type=output,
        parameters=MappingProxyType(parameters),
        defaults=MappingProxyType(defaults),
        result=_row(output, "return"),
        # protobuf takes no lone surrogates, and a model is not refused for its documentation.
        doc=(inspect.getdoc(func) or "").encode(errors="replace").decode(),
    )


def _matches(pattern: re.Pattern[str], text: object) -> bool:
    return isinstance(text, str) and pattern.fullmatch(text) is not None


def _refuse_target(func: object) -> None:
    if not callable(func) or isinstance(func, type):
        raise ValidationError(f"{func!r} is no function")


def _row(annotation: object, field: str) -> Row:
    if annotation is MISSING:
        raise ValidationError(f"no annotation; use {ACCEPTED}", field=field)
    try:
        row = row_of(annotation)
        for _ in walk(row):  # looks into every class inside
            pass
    except ValidationError as error:
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


def _refuse_parameters(func: Callable[..., object]) -> None:
    """Raise for a signature that cannot be called by name with what a request holds."""
    try:
        parameters = inspect.signature(func).parameters
    except ValueError:
        raise ValidationError("its signature cannot be read; wrap it in a function") from None
    if not parameters:
        raise ValidationError("it takes no parameters; a model needs at least one")
    json_names: dict[str, str] = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValidationError("*args and **kwargs are not allowed; name each", field=name)
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise ValidationError("positional-only; remove the '/'", field=name)
        if not _ASCII_IDENTIFIER.fullmatch(name):
            raise ValidationError("a name on the wire is ASCII; rename it", field=name)
        if name in MESSAGE_NAMES:
            raise ValidationError("protobuf's messages have that name; rename it", field=name)
        other = json_names.setdefault(_json_name(name), name)
        if other != name:
            raise ValidationError(
                f"protobuf's JSON name of it is also that of {other!r}; rename one", field=name
            )


def _json_name(name: str) -> str:
    """Return protobuf's JSON name of a field; protoc refuses two fields of one such name."""
    return re.sub("_+(.?)", lambda match: match[1].upper(), name)


def _result(
    func: Callable[..., object], annotation: object, streaming: bool
) -> tuple[object, bool]:
    """Return the annotation of one result, and whether results are a stream."""
    function = plain_function(func)
    asynchronous = inspect.isasyncgenfunction(function)
    generator = asynchronous or inspect.isgeneratorfunction(function)
    stream = "AsyncIterator" if asynchronous else "Iterator"
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
