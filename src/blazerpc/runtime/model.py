"""What a registered model is."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from blazerpc.config import ExecutionOptions, Resources
from blazerpc.context import Dependency
from blazerpc.rows import EnumRow, Row, StructRow, walk
from blazerpc.types import plain_function


class Batching(Enum):
    """How one call of a model's code serves many requests.

    Attributes:
        NONE: it does not.
        ROWS: the rows of the requests' tensors follow each other along the first dimension.
        LISTS: each parameter is a list, with a value of each request.
    """

    NONE = "none"
    ROWS = "rows"
    LISTS = "lists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """The parameters of a model that are not on the wire.

    Attributes:
        context: names of those that are the call's ``Context``.
        dependencies: functions whose value is a parameter, by its name.
    """

    context: tuple[str, ...]
    dependencies: Mapping[str, Dependency]

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return frozenset({*self.context, *self.dependencies})

    @property
    def closed_after_call(self) -> bool:
        """Whether one of the functions yields, and goes on when the call has ended."""
        functions = [plain_function(dependency.fn) for dependency in self.dependencies.values()]
        return any(
            inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in functions
        )


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A registered model.

    Attributes:
        name: under which it is called.
        version: likewise; "1" is the one that names nothing else.
        func: the function; of a class, its ``__call__``.
        factory: the class whose instance is the model; None when that is a function.
        check: raises when the model cannot work here, before it is built; None when nothing is
            known that could be in the way.
        streaming: whether it gives a stream of results.
        batching: how one call serves many requests.
        isolate_failures: whether the requests of a batch that failed are run again, each alone.
        options: of its execution.
        resources: that it needs.
        idempotent: whether a call that may have run can be made again.
        input_types: the annotation of each parameter on the wire, in order.
        output_type: the annotation of the result, or of one result of the stream.
        parameters: what each of ``input_types`` means.
        defaults: of the parameters that have one.
        injected: the parameters that are not on the wire.
        result: what ``output_type`` means.
        doc: the function's docstring, "" when it has none.
    """

    name: str
    version: str
    func: Callable[..., object]
    factory: Callable[[], object] | None
    check: Callable[[], None] | None
    streaming: bool
    batching: Batching
    isolate_failures: bool
    options: ExecutionOptions
    resources: Resources
    idempotent: bool
    input_types: Mapping[str, Any]
    output_type: Any
    parameters: Mapping[str, Row]
    defaults: Mapping[str, object]
    injected: Injected
    result: Row
    doc: str

    @property
    def stem(self) -> str:
        """What the names of its rpc and messages are made of: ``MyModel``, ``MyModelV2``."""
        return stem(self.name, self.version)

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


def stem(name: str, version: str) -> str:
    """Return what the names of a model's rpc and messages are made of."""
    words = re.split("[-_]", name)
    joined = "".join(word[:1].upper() + word[1:] for word in words)
    return joined if version == "1" else f"{joined}V{version}"
