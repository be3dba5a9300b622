"""mypy plugin: ``TensorInput[np.float32, "batch", 224]`` is an array of that element type.

In ``pyproject.toml``::

    [tool.mypy]
    plugins = ["blazerpc.mypy_plugin"]

A type checker sees ``TensorInput`` and ``TensorOutput`` as ``Annotated``, whose metadata it does
not look up, so that a quoted dimension is no undefined name. Without this plugin the first argument
is the whole type: right for ``npt.NDArray[np.float32]``, an element instead of an array for
``np.float32``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mypy.plugin import AnalyzeTypeContext, Plugin
from mypy.types import (
    AnyType,
    Instance,
    RawExpressionType,
    Type,
    TypeOfAny,
    UnboundType,
    get_proper_type,
)

_NAMES: Final = frozenset({"TensorInput", "TensorOutput"})
_ANNOTATED: Final = frozenset({"typing.Annotated", "typing_extensions.Annotated"})

#: NumPy scalar types that have no place on the wire.
_UNSUPPORTED: Final = frozenset(
    {"numpy.object_", "numpy.datetime64", "numpy.timedelta64", "numpy.void"}
)


class TensorPlugin(Plugin):
    """Gives tensor annotations their array type, and checks what is written in them."""

    def get_type_analyze_hook(self, fullname: str) -> Callable[[AnalyzeTypeContext], Type] | None:
        """Take over ``Annotated``, under whichever name it is written."""
        return _analyze if fullname in _ANNOTATED else None


def plugin(version: str) -> type[Plugin]:
    """Return the plugin; mypy calls this."""
    return TensorPlugin


def _analyze(context: AnalyzeTypeContext) -> Type:
    written = context.type
    name = written.name.rpartition(".")[2]
    if name not in _NAMES:
        return _annotated(context)
    if not written.args:
        return _fail(context, f'{name} needs an element type: {name}[np.float32, "batch", 4]')
    element, *dimensions = written.args
    for dimension in dimensions:
        problem = _dimension_problem(dimension)
        if problem is not None:
            context.api.fail(f"{name}: {problem}", context.context)
    return _array(context, name, element)


def _annotated(context: AnalyzeTypeContext) -> Type:
    """Return what mypy makes of a plain ``Annotated``."""
    # The analyser itself: only it knows where Required[] and the like may stand inside.
    analyser: Any = context.api
    result: Type = analyser.try_analyze_special_unbound_type(context.type, "typing.Annotated")
    return result


def _array(context: AnalyzeTypeContext, name: str, written: Type) -> Type:
    if isinstance(written, RawExpressionType) or (
        isinstance(written, UnboundType) and written.original_str_expr is not None
    ):
        return _fail(context, f"{name}: the element type comes first, np.float32 for example")
    element = get_proper_type(context.api.analyze_type(written))
    if isinstance(element, AnyType):
        return element  # an error that is reported elsewhere, or something that is not known
    if isinstance(element, Instance):
        kind = element.type
        if kind.fullname == "numpy.ndarray":
            return element
        if kind.has_base("numpy.generic") and kind.fullname not in _UNSUPPORTED:
            anything = AnyType(TypeOfAny.special_form)
            shape = context.api.named_type("builtins.tuple", [anything])
            dtype = context.api.named_type("numpy.dtype", [element])
            return context.api.named_type("numpy.ndarray", [shape, dtype])
    text = written.name if isinstance(written, UnboundType) else str(written)
    return _fail(context, f"{name}: {text} is no tensor element type; use np.float32 or the like")


def _dimension_problem(dimension: Type) -> str | None:
    if isinstance(dimension, RawExpressionType):
        value = dimension.literal_value
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return None
        return f"{value!r} is no dimension; a size (224) or a name in quotes is"
    if isinstance(dimension, UnboundType):
        text = dimension.original_str_expr
        if text is None:
            return f'put the dimension {dimension.name} in quotes: "{dimension.name}"'
        if text.isidentifier() and text.isascii():
            return None
        return f"{text!r} is no name of a dimension"
    return "a dimension is a size (224) or a name in quotes"


def _fail(context: AnalyzeTypeContext, message: str) -> Type:
    context.api.fail(message, context.context)
    return AnyType(TypeOfAny.from_error)
