"""The types of a model that come from a graph and not from a function: names, shapes, a signature.

Names in a graph are any text, and its axes may have none. Here they become what Python and protobuf
can say.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from functools import cache
from typing import Any, Final

import numpy as np

from blazerpc.runtime.inspection import BATCH
from blazerpc.types import _TensorType
from blazerpc_client.naming import is_parameter_name, json_name

#: An axis of a graph's tensor: its size, its name, or None when it has neither.
Axis = int | str | None

#: What an axis of that name is called in a graph that cannot be batched by it.
_OTHER_BATCH: Final = "batch_size"


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of a graph, as the graph has it."""

    name: str
    dtype: type[np.generic]
    shape: tuple[Axis, ...]


def field_names(names: Sequence[str]) -> list[str]:
    """Return a parameter's or field's name for each name in a graph.

    What is no letter, digit or underscore becomes an underscore: ``input.1`` is ``input_1``. A name
    that begins with no letter gets ``x_`` before it; one that Python or protobuf has already, an
    underscore after it; one that is there already, a number.
    """
    fields: dict[str, str] = {}
    for name in names:
        field = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
        field = field if field[:1].isalpha() else f"x_{field}".rstrip("_")
        field = field if is_parameter_name(field) else f"{field}_"
        unique, number = field, 1
        while json_name(unique) in fields:
            number += 1
            unique = f"{field}_{number}"
        fields[json_name(unique)] = unique
    return list(fields.values())


def symbolic_shapes(
    inputs: Mapping[str, Sequence[Axis]], outputs: Mapping[str, Sequence[Axis]]
) -> dict[str, tuple[int | str, ...]]:
    """Return the shapes of a graph's tensors with a name for each axis that has no size.

    Axes keep their names, as far as these are identifiers. In a graph that treats each row for
    itself, the first axis of every tensor is ``batch``.

    Args:
        inputs: shapes by name.
        outputs: likewise; no name is in both.
    """
    shapes = {**inputs, **outputs}
    by_row = _is_rowwise(list(inputs.values()), list(outputs.values()))
    names: dict[object, str] = {}
    found: dict[str, tuple[int | str, ...]] = {}
    for tensor, shape in shapes.items():
        axes: list[int | str] = []
        for number, axis in enumerate(shape):
            if isinstance(axis, int):
                axes.append(axis)
            elif by_row and number == 0:
                axes.append(BATCH)
            else:
                wanted = f"{tensor}_{number}" if axis is None else axis
                key = (tensor, number) if axis is None else axis
                axes.append(names.setdefault(key, _dimension(wanted, names.values())))
        found[tensor] = tuple(axes)
    return found


def _is_rowwise(inputs: Sequence[Sequence[Axis]], outputs: Sequence[Sequence[Axis]]) -> bool:
    """Return whether every tensor has one first axis in common, and it is nowhere else.

    An output whose other axes are not those of an input may have as many columns as there are
    rows, as distances of all pairs do; rows of several requests must not meet in it.
    """
    shapes = [*inputs, *outputs]
    if not all(shape and not isinstance(shape[0], int) for shape in shapes):
        return False
    first = {shape[0] for shape in shapes} - {None}
    others = {axis for shape in shapes for axis in shape[1:] if isinstance(axis, str)}
    known = {axis for shape in inputs for axis in shape[1:] if isinstance(axis, str)}
    of_outputs = {axis for shape in outputs for axis in shape[1:] if not isinstance(axis, int)}
    return len(first) <= 1 and not first & others and of_outputs <= known


def _dimension(name: str, taken: Collection[str]) -> str:
    """Return the name of a symbolic dimension that is not taken."""
    dimension = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "dim"
    if not dimension[0].isalpha():
        dimension = f"dim_{dimension}"
    if dimension == BATCH:
        dimension = _OTHER_BATCH
    unique, number = dimension, 1
    while unique in taken:
        number += 1
        unique = f"{dimension}_{number}"
    return unique


def typed_function(
    call: Callable[[Mapping[str, Any]], object],
    parameters: Mapping[str, _TensorType],
    result: object,
    doc: str,
) -> Callable[..., object]:
    """Return a function that has these parameters and this result, by name.

    Args:
        call: gets the arguments by name.
        parameters: the annotation of each.
        result: the annotation of what ``call`` returns.
        doc: its documentation.
    """

    def predict(**arguments: object) -> object:
        return call(arguments)

    kind = inspect.Parameter.KEYWORD_ONLY
    signed: Any = predict
    signed.__signature__ = inspect.Signature(
        [inspect.Parameter(name, kind, annotation=type_) for name, type_ in parameters.items()],
        return_annotation=result,
    )
    predict.__annotations__ = {**parameters, "return": result}
    predict.__doc__ = doc
    return predict


def outputs_class(name: str, fields: Mapping[str, _TensorType]) -> type:
    """Return a dataclass of a graph's outputs; what is made of it can be pickled."""
    return _outputs_class(name, tuple(fields.items()))


# One class for the same outputs: a replica's results are those of its front door's class.
@cache
def _outputs_class(name: str, fields: tuple[tuple[str, _TensorType], ...]) -> type:
    def reduced(outputs: object) -> tuple[object, ...]:
        return _outputs, (name, fields, [getattr(outputs, field) for field, _ in fields])

    namespace = {"__doc__": "What it gives.", "__reduce__": reduced}
    return make_dataclass(name, fields, namespace=namespace)


def _outputs(
    name: str, fields: tuple[tuple[str, _TensorType], ...], values: Sequence[object]
) -> object:
    outputs: object = _outputs_class(name, fields)(*values)
    return outputs
