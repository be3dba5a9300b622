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

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from mypy.nodes import (
    AssignmentStmt,
    ClassDef,
    Expression,
    FuncDef,
    IfStmt,
    Import,
    ImportBase,
    ImportFrom,
    IndexExpr,
    IntExpr,
    LambdaExpr,
    MemberExpr,
    MypyFile,
    NameExpr,
    OpExpr,
    ReturnStmt,
    Statement,
    StrExpr,
    TupleExpr,
    TypeAliasStmt,
    UnaryExpr,
)
from mypy.plugin import AnalyzeTypeContext, Plugin, ReportConfigContext
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

#: A line that may be an alias of a tensor.
_ALIAS: Final = re.compile(rb"^[^#\n(]*=.*\bTensor(?:In|Out)put\[", re.MULTILINE)

#: NumPy scalar types that have no place on the wire.
_UNSUPPORTED: Final = frozenset(
    {"numpy.object_", "numpy.datetime64", "numpy.timedelta64", "numpy.void"}
)


class TensorPlugin(Plugin):
    """Gives tensor annotations their array type, and checks what is written in them."""

    def get_additional_deps(self, file: MypyFile) -> list[tuple[int, str, int]]:
        """Prepare the aliases of ``file``, which mypy has just parsed; no module is needed."""
        if any(_imports_blazerpc(statement) for statement in file.imports):
            _prepare(file.defs)
        return []

    def report_config_data(self, ctx: ReportConfigContext) -> object:
        """Keep files with aliases out of mypy's cache.

        A file that is checked again for the sake of another one is parsed without asking
        ``get_additional_deps``. What is checked and what is kept never agree, so it starts anew.
        """
        return ctx.is_check if _has_alias(ctx.path) else None

    def get_type_analyze_hook(self, fullname: str) -> Callable[[AnalyzeTypeContext], Type] | None:
        """Take over ``Annotated``, under whichever name it is written."""
        return _analyze if fullname in _ANNOTATED else None


def plugin(version: str) -> type[Plugin]:
    """Return the plugin; mypy calls this."""
    return TensorPlugin


def _has_alias(path: str) -> bool:
    try:
        return _ALIAS.search(Path(path).read_bytes()) is not None
    except OSError:
        return False


def _imports_blazerpc(statement: ImportBase) -> bool:
    if isinstance(statement, ImportFrom):
        return statement.id.partition(".")[0] == "blazerpc"
    ids = statement.ids if isinstance(statement, Import) else []
    return any(name.partition(".")[0] == "blazerpc" for name, _ in ids)


def _prepare(statements: Iterable[Statement]) -> None:
    """Put what stands in a tensor's brackets into quotes, where it is an alias.

    ``Image = TensorInput[np.float32, "h", "w"]`` is an expression; of an ``Annotated`` in one, mypy
    keeps the first argument alone, and asks no hook. A quoted first argument it reads as an
    annotation, and asks. (mypy's own visitors are compiled, and cannot be subclassed here.)
    """
    for statement in statements:
        match statement:
            case AssignmentStmt():
                _quote(statement.rvalue)
            case ClassDef():
                _prepare(statement.defs.body)
            case FuncDef():
                _prepare(statement.body.body)
            case IfStmt():
                for block in (*statement.body, statement.else_body):
                    _prepare(block.body if block is not None else ())
            case TypeAliasStmt():
                _quote(statement.value)


def _quote(expression: Expression) -> None:
    match expression:
        case OpExpr():
            _quote(expression.left)
            _quote(expression.right)
        case TupleExpr():
            for item in expression.items:
                _quote(item)
        case LambdaExpr():  # what mypy makes of a type statement's value
            for statement in expression.body.body:
                if isinstance(statement, ReturnStmt) and statement.expr is not None:
                    _quote(statement.expr)
        case IndexExpr():
            name = _source(expression.base)
            if name is not None and name.rpartition(".")[2] in _NAMES:
                _quote_tensor(expression, name)
            else:
                _quote(expression.index)


def _quote_tensor(expression: IndexExpr, name: str) -> None:
    index = expression.index
    items = index.items if isinstance(index, TupleExpr) else [index]
    written = ", ".join(_source(item) or repr("?") for item in items)
    quoted = StrExpr(f"{name}[{written}]")
    quoted.set_line(expression)
    # mypy wants a second argument, and does not look at it.
    expression.index = TupleExpr([quoted, StrExpr("")])
    expression.index.set_line(index)


def _source(expression: Expression) -> str | None:
    """Return the source of what may stand in a tensor's brackets, None for anything else."""
    match expression:
        case NameExpr():
            return expression.name
        case MemberExpr():
            base = _source(expression.expr)
            return None if base is None else f"{base}.{expression.name}"
        case IntExpr() | StrExpr():
            return repr(expression.value)
        case UnaryExpr(op="-", expr=IntExpr(value=value)):
            return f"-{value}"
        case IndexExpr():
            base, index = _source(expression.base), _source(expression.index)
            return None if base is None or index is None else f"{base}[{index}]"
    return None


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
        if value is None:  # what it was is not kept: a float, say
            return "a dimension is a size (224) or a name in quotes"
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
