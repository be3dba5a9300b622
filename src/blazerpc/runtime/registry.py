"""Which models there are. Registration calls nothing of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from typing import Final

from blazerpc.config import ExecutionOptions, Resources
from blazerpc.exceptions import ModelNotFoundError, ValidationError
from blazerpc.rows import EnumRow
from blazerpc.runtime.inspection import inspected
from blazerpc.runtime.model import ModelInfo
from blazerpc_client.naming import method_name

__all__ = ["ModelInfo", "ModelRegistry"]

#: What the names of a model's messages end in, and names that the schema has anyway.
_MESSAGES: Final = ("Request", "Response")
_RESERVED: Final = (
    "TensorProto",
    "InferenceService",
    "TensorOptions",
    "ModelOptions",
    "ParamOptions",
)

_DEFAULTS: Final = ExecutionOptions()
_RESOURCES: Final = Resources()


@contextmanager
def naming(model: str) -> Iterator[None]:
    """Say in a ``ValidationError`` which model it is about."""
    try:
        yield
    except ValidationError as error:
        where = f"model {model!r}"
        if error.field is not None:
            where += ", result" if error.field == "return" else f", parameter {error.field!r}"
        raise ValidationError(f"{where}: {error}", field=error.field or model) from None


class ModelRegistry:
    """All models of an app, by name and version."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], ModelInfo] = {}

    def register(
        self,
        name: str,
        version: str,
        func: Callable[..., object],
        streaming: bool = False,
        *,
        batch: bool = False,
        isolate_failures: bool = False,
        options: ExecutionOptions = _DEFAULTS,
        resources: Resources = _RESOURCES,
        idempotent: bool = False,
    ) -> None:
        """Add a model.

        Args:
            name: letters, digits, ``-`` and ``_``, a letter first.
            version: letters, digits and ``_``.
            func: a function whose annotations say what it takes and gives, or a class of which
                an instance is one.
            streaming: a generator function annotated with the type of one item is a stream.
            batch: the function takes and returns lists, with a value for each request of a batch.
            isolate_failures: run the requests of a batch that failed again, each alone.
            options: of the model's execution.
            resources: that it needs.
            idempotent: whether a call that may have run can be made again.

        Raises:
            ValidationError: naming the model, the parameter, and what would do.
        """
        with naming(name):
            model = inspected(
                name,
                version,
                func,
                streaming=streaming,
                batch=batch,
                isolate_failures=isolate_failures,
                options=options,
                resources=resources,
                idempotent=idempotent,
            )
            self._refuse_duplicate(model)
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
        enums = {
            row.kind: row for each in models for row in each.classes if isinstance(row, EnumRow)
        }
        _refuse_values(enums.values(), {*taken, *known})


def _refuse_values(enums: Iterable[EnumRow], taken: Set[str]) -> None:
    """Raise for names of enums' values that another value, a message or an enum has.

    All of them have one scope, which is the package.
    """
    values: dict[str, str] = {}
    for enum in enums:
        for value in enum.definition().value:
            other = values.setdefault(value.name, enum.name)
            if value.name in taken or other != enum.name:
                what = "a class or message" if value.name in taken else f"a value of enum {other}"
                raise ValidationError(
                    f"a value of enum {enum.name} would be {value.name}, as is {what}; rename one"
                )


def _full_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
