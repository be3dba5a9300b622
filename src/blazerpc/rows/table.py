"""Which annotation has which row."""

from __future__ import annotations

from typing import Annotated, Final, get_args, get_origin

from blazerpc.exceptions import ValidationError
from blazerpc.rows.base import Row
from blazerpc.rows.containers import ListRow, MapRow, OptionalRow
from blazerpc.rows.enums import EnumRow
from blazerpc.rows.scalars import LiteralRow, NumpyScalarRow, ScalarRow, TimeRow
from blazerpc.rows.structs import StructRow
from blazerpc.rows.tensors import TensorRow
from blazerpc.types import unaliased

ACCEPTED: Final = (
    "str, int, float, bool, bytes, a NumPy scalar type (np.float64), "
    "TensorInput[np.float32, 'batch', 4], Annotated[npt.NDArray[np.float32], Tensor('batch', 4)], "
    "a dataclass, TypedDict, NamedTuple, pydantic model or Enum, Literal['a', 'b'], datetime, "
    "timedelta, or list[T], dict[str, T] or T | None of these"
)

#: Every kind of annotation, tried in order.
ROWS: Final[tuple[type[Row], ...]] = (
    ScalarRow,
    NumpyScalarRow,
    TensorRow,
    ListRow,
    OptionalRow,
    MapRow,
    LiteralRow,
    TimeRow,
    EnumRow,
    StructRow,
)


def row_of(annotation: object) -> Row:
    """Return the row of ``annotation``.

    Raises:
        ValidationError: saying what would be accepted, when there is none.
    """
    annotation = unaliased(annotation)
    for kind in ROWS:
        row = kind.match(annotation, row_of)
        if row is not None:
            return row
    if get_origin(annotation) is Annotated:  # what it adds is for somebody else
        return row_of(get_args(annotation)[0])
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    raise ValidationError(f"{name} is not supported; use {ACCEPTED}")
