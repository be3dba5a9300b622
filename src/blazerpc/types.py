"""How a tensor is annotated, and what a function's annotations say."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypedDict, Union, get_args, get_origin, get_type_hints

import numpy as np

from blazerpc.exceptions import ValidationError
from blazerpc_client.wire.dtypes import DTYPE_MAP

__all__ = [
    "DTYPE_MAP",
    "PYTHON_TYPE_MAP",
    "Tensor",
    "TensorInput",
    "TensorOutput",
    "TypeInfo",
    "extract_type_info",
]

#: Python scalar type to protobuf's name of it.
PYTHON_TYPE_MAP: dict[type, str] = {
    float: "float",
    int: "int64",
    str: "string",
    bool: "bool",
    bytes: "bytes",
}


def _check_shape(shape: tuple[object, ...]) -> tuple[int | str, ...]:
    """Return ``shape``; raise ``ValidationError`` for an entry that is no dimension."""
    for size in shape:
        if isinstance(size, str) and size.isidentifier() and size.isascii():
            continue
        if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            continue
        raise ValidationError(
            f"{size!r} is no tensor dimension; a size (224) or a name in quotes ('batch') is"
        )
    return shape  # type: ignore[return-value]  # mypy does not narrow the elements of a tuple


class Tensor:
    """The shape of an array, in ``Annotated[npt.NDArray[np.float32], Tensor("batch", 4)]``.

    Args:
        shape: a fixed size, or a name for one that differs from call to call; a name that is used
            twice in one call stands for one size.
        dtype: of the elements, for an array type that does not say it, as ``torch.Tensor`` under
            ``@torch_model``: ``Annotated[torch.Tensor, Tensor("batch", 4, dtype=np.float32)]``.

    Raises:
        ValidationError: for anything else.
    """

    def __init__(self, *shape: int | str, dtype: type[np.generic] | None = None) -> None:
        self.shape: tuple[int | str, ...] = _check_shape(shape)
        self.dtype: type[np.generic] | None = None if dtype is None else _element_type(dtype)

    def __repr__(self) -> str:
        parts = [*map(repr, self.shape)]
        if self.dtype is not None:
            parts.append(f"dtype=np.{self.dtype.__name__}")
        return f"Tensor({', '.join(parts)})"


class _TensorType:
    """What ``TensorInput[...]`` and ``TensorOutput[...]`` are at run time."""

    def __init__(self, dtype: Any, shape: tuple[Any, ...], *, is_input: bool) -> None:
        self.dtype: type[np.generic] = _element_type(dtype)
        self.shape: tuple[int | str, ...] = _check_shape(shape)
        self.is_input = is_input

    def __repr__(self) -> str:
        kind = "TensorInput" if self.is_input else "TensorOutput"
        return f"{kind}[{', '.join([self.dtype.__name__, *map(repr, self.shape)])}]"

    def __or__(self, other: Any) -> Any:
        return Union[self, other]  # noqa: UP007 - this is what | means here

    def __ror__(self, other: Any) -> Any:
        return Union[other, self]  # noqa: UP007 - likewise

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _TensorType):
            return NotImplemented
        return (self.dtype, self.shape) == (other.dtype, other.shape)

    def __hash__(self) -> int:
        return hash((self.dtype, self.shape))


if TYPE_CHECKING:
    # A type checker sees the array type and looks no dimension's name up.
    from typing import Annotated as TensorInput
    from typing import Annotated as TensorOutput
else:

    class TensorInput:
        """An array parameter: ``TensorInput[np.float32, "batch", 224, 224, 3]``.

        First the element type (or ``npt.NDArray[np.float32]``, which every type checker reads
        without help), then the dimensions as for ``Tensor``.
        """

        def __class_getitem__(cls, parameters: object) -> _TensorType:
            """Return the annotation."""
            return _subscripted(parameters, is_input=True)

    class TensorOutput:
        """An array result: ``TensorOutput[np.float32, "batch", 10]``; else as ``TensorInput``."""

        def __class_getitem__(cls, parameters: object) -> _TensorType:
            """Return the annotation."""
            return _subscripted(parameters, is_input=False)


def _subscripted(parameters: object, *, is_input: bool) -> _TensorType:
    if parameters == ():
        raise ValidationError("a tensor of what? Write TensorInput[np.float32, 'batch', 4]")
    dtype, *shape = parameters if isinstance(parameters, tuple) else (parameters,)
    return _TensorType(dtype, tuple(shape), is_input=is_input)


def unaliased(annotation: Any) -> Any:
    """Return what an annotation stands for that names a ``type`` alias (PEP 695).

    NumPy's own ``npt.NDArray`` is one, in versions for Python 3.12 and later.
    """
    while True:
        origin = get_origin(annotation)
        if hasattr(annotation, "__value__") and origin is None:
            annotation = annotation.__value__
        elif hasattr(origin, "__value__"):
            annotation = origin.__value__[get_args(annotation)]
        else:
            return annotation


def array_element(annotation: object) -> object | None:
    """Return X of ``npt.NDArray[X]``, None for anything else."""
    annotation = unaliased(annotation)
    if get_origin(annotation) is not np.ndarray:
        return None
    dtype = get_args(annotation)[1]
    element: object = next(iter(get_args(dtype)), dtype)
    return element


def concrete_dtype(scalar: type[np.generic]) -> np.dtype[Any] | None:
    """Return the dtype of a NumPy scalar type, None for an abstract one (``np.floating``)."""
    try:
        return np.dtype(scalar)
    except TypeError:
        return None


def _element_type(dtype: object) -> type[np.generic]:
    """Return the NumPy scalar type that ``dtype`` stands for.

    Raises:
        ValidationError: when it is none that can travel.
    """
    element = array_element(dtype) or dtype
    if isinstance(element, type) and issubclass(element, np.generic):
        exact = concrete_dtype(element)
        for supported in DTYPE_MAP:  # equal dtypes can have several types (np.longlong)
            if exact is not None and np.dtype(supported) == exact:
                return supported
    what = element.__name__ if isinstance(element, type) else repr(element)
    raise ValidationError(
        f"{what} is no tensor element type; use a NumPy scalar type: "
        f"{', '.join(f'np.{t.__name__}' for t in DTYPE_MAP if t.__module__ == 'numpy')}"
    )


class TypeInfo(TypedDict):
    """What ``extract_type_info`` finds: parameter annotations in order, and that of the result."""

    inputs: dict[str, Any]
    output: Any


@dataclass(frozen=True)
class _Missing:
    """Stands for an annotation that is not there; ``None`` would be one."""


MISSING = _Missing()


def plain_function(func: Callable[..., object]) -> Callable[..., object]:
    """Return the function that runs when ``func`` is called: of a partial, of a callable object."""
    while isinstance(func, partial):
        func = func.func
    return func if inspect.isroutine(func) else type(func).__call__


def extract_type_info(func: Callable[..., object]) -> TypeInfo:
    """Return the annotations of ``func``, strings evaluated; ``MISSING`` where there is none.

    Raises:
        ValidationError: naming the parameter whose annotation cannot be evaluated.
    """
    hints = _hints(plain_function(func))
    return TypeInfo(
        inputs={name: hints.get(name, MISSING) for name in inspect.signature(func).parameters},
        output=hints.get("return", MISSING),
    )


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    annotations = getattr(function, "__annotations__", {})
    # One at a time, so that an error can say which.
    names = getattr(inspect.unwrap(function), "__globals__", {})
    hints: dict[str, Any] = {}
    for name, annotation in annotations.items():
        only = SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= get_type_hints(only, globalns=names, include_extras=True)
        except ValidationError as error:
            raise ValidationError(str(error), field=name) from None
        except Exception as error:  # an annotation is code: it can raise anything
            raise ValidationError(
                f"the annotation cannot be evaluated: {error}", field=name
            ) from None
    return hints
