"""A model for each kind of type that can be registered, each giving back what it gets."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pydantic
from jaxtyping import Float32

from blazerpc import BlazeApp, Tensor, TensorInput

app = BlazeApp("rows")


class Kind(enum.Enum):
    """Members of other values are numbered from 1."""

    ARTICLE = "article"
    NOTE = "note"


class Level(enum.IntEnum):
    """Members that are numbers keep them."""

    LOW = 0
    HIGH = 10
    BELOW = -1


class Span(NamedTuple):
    """A named tuple."""

    start: int
    end: int = -1


class Extra(TypedDict):
    """A dict whose keys are known, one of which need not be there."""

    source: str
    weight: NotRequired[np.float64]


class Settings(pydantic.BaseModel):
    """A pydantic model, with a rule of its own."""

    temperature: float = pydantic.Field(ge=0)
    stop: list[str] = []
    level: Level = Level.HIGH


@dataclass
class Document:
    """A dataclass that holds itself, and one of everything else."""

    title: str
    raw: bytes
    score: np.float32
    embedding: Annotated[npt.NDArray[np.float32], Tensor("size")]
    kind: Kind
    mode: Literal["fast", "exact"]
    when: datetime
    took: timedelta
    span: Span
    extra: Extra
    parts: list[Document]
    by_name: dict[str, Document]
    by_number: dict[int, Span]
    images: list[TensorInput[np.uint8, "height", "width"]]
    flags: list[bool] = field(default_factory=list)
    note: str | None = None
    level: Level = Level.LOW
    top_k: int = 5
    settings: Settings | None = None
    halves: TensorInput[np.float16, 2] | None = None


ROWS: dict[str, tuple[Any, type]] = {
    "document": (Document, Document),
    "span": (Span, Span),
    "extra": (Extra, dict),
    "settings": (Settings, Settings),
    "kind": (Kind, Kind),
    "level": (Level, Level),
    "mode": (Literal["fast", "exact"], str),
    "when": (datetime, datetime),
    "took": (timedelta, timedelta),
    "documents": (list[Document], list),
    "kinds": (list[Kind], list),
    "modes": (list[Literal["fast", "exact"]], list),
    "times": (list[datetime], list),
    "widths": (list[np.int32], list),
    "counts": (dict[str, int], dict),
    "spans": (dict[int, Span], dict),
    "levels": (dict[str, Level], dict),
    "scores": (dict[str, np.float64], dict),
    "arrays": (list[TensorInput[np.float32, "n"]], list),
    "named_arrays": (dict[str, TensorInput[np.complex64]], dict),
    "texts": (TensorInput[np.str_, "n"], np.ndarray),
    "blobs": (TensorInput[np.bytes_, "n"], np.ndarray),
    "brains": (TensorInput[ml_dtypes.bfloat16, "n"], np.ndarray),
    "jax": (Float32[np.ndarray, "n 2"], np.ndarray),
}


def _echo(annotation: Any, *expected: type) -> Callable[..., object]:
    def model(value: Any) -> Any:
        # The function gets what its annotation says, not merely something that prints alike.
        assert type(value) in expected, type(value)
        if isinstance(value, Document):
            check(value)
        return value

    model.__annotations__ = {"value": annotation, "return": annotation}
    return model


def check(document: Document) -> None:
    """Raise unless every field has exactly the type of its annotation."""
    assert type(document.score) is np.float32
    assert type(document.kind) is Kind
    assert type(document.span) is Span
    assert type(document.settings) in (Settings, NoneType)
    assert type(document.extra.get("weight", np.float64(0))) is np.float64
    assert all(type(span) is Span for span in document.by_number.values())
    for part in [*document.parts, *document.by_name.values()]:
        check(part)


def _stream(annotation: Any) -> Callable[..., object]:
    def model(value: Any, count: int = 2) -> Iterator[Any]:
        for _ in range(count):
            yield value

    model.__annotations__ = {"value": annotation, "count": int, "return": Iterator[annotation]}
    return model


for name, (annotation, kind) in ROWS.items():
    app.model(name)(_echo(annotation, kind))
    app.model(f"stream-{name}")(_stream(annotation))
    if kind not in (list, dict) or annotation is Extra:
        app.model(f"optional-{name}")(_echo(annotation | None, kind, NoneType))


@app.model("defaults")
def defaults(
    kind: Kind = Kind.NOTE,
    mode: Literal["fast", "exact"] = "exact",
    took: timedelta = timedelta(minutes=1),
    counts: dict[str, int] = {},  # noqa: B006 - nobody changes it
    settings: Settings | None = None,
) -> str:
    """Say what the parameters are.

    Args:
        kind: has a default.
    """
    return f"{kind.name} {mode} {took} {counts} {settings}"
