"""The row of classes with fields: dataclass, TypedDict, NamedTuple, pydantic model."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import (
    Any,
    ClassVar,
    Final,
    NotRequired,
    Required,
    Self,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from blazerpc.exceptions import InferenceError, ValidationError
from blazerpc.rows.base import (
    Adapter,
    Lookup,
    Row,
    add_field,
    check_class_name,
    refuse_same_json_name,
)
from blazerpc.rows.containers import ListRow, MapRow, OptionalRow, check_default, omissible
from blazerpc_client.naming import PACKAGE, is_parameter_name
from blazerpc_client.wire.errors import WireError

#: Stands for the default of a field that has none.
NO_DEFAULT: Final = object()

#: Stands for the default of a key that need not be there.
ABSENT: Final = object()


@dataclass(frozen=True)
class Made:
    """A default that the class makes anew for each instance, so that no schema can know it."""

    factory: Callable[[], object]


@dataclass(frozen=True)
class StructField:
    """A field: its type, its default or what stands for it, and whether it can be None."""

    row: Row
    default: object
    nullable: bool

    @property
    def default_json(self) -> str | None:
        """The default as JSON; None when there is none, or none that JSON can say."""
        if self.default in (NO_DEFAULT, ABSENT) or isinstance(self.default, Made):
            return None
        return self.row.default_json(self.default)


class Shape(ABC):
    """How one kind of class is looked into."""

    @abstractmethod
    def matches(self, kind: type) -> bool:
        """Return whether ``kind`` is of this kind."""

    @abstractmethod
    def defaults(self, kind: type) -> dict[str, object]:
        """Return the default of each field, ``NO_DEFAULT`` where it has none, in order.

        Raises:
            ValidationError: when its instances cannot be made from their fields alone.
        """

    def is_instance(self, kind: type, value: object) -> bool:
        """Return whether ``value`` is an instance of ``kind``."""
        return isinstance(value, kind)

    def values(self, kind: type, value: Any) -> Mapping[str, object]:
        """Return the fields of an instance."""
        return {name: getattr(value, name) for name in self.defaults(kind)}

    def reason(self, error: ValueError) -> str:
        """Return in one line why the class refuses an instance."""
        return " ".join(str(error).split())


class _Dataclass(Shape):
    def matches(self, kind: type) -> bool:
        return dataclasses.is_dataclass(kind)

    def defaults(self, kind: type) -> dict[str, object]:
        found: dict[str, object] = {}
        for field in dataclasses.fields(kind):
            if not field.init:
                continue
            found[field.name] = field.default
            if field.default_factory is not dataclasses.MISSING:
                found[field.name] = Made(field.default_factory)
            elif field.default is dataclasses.MISSING:
                found[field.name] = NO_DEFAULT
        for name, parameter in inspect.signature(kind).parameters.items():
            if name not in found and parameter.default is parameter.empty:
                raise ValidationError(
                    f"{name} is needed to make one, and is no field; give it a default"
                )
        return found


class _NamedTuple(Shape):
    def matches(self, kind: type) -> bool:
        return issubclass(kind, tuple) and hasattr(kind, "_fields")

    def defaults(self, kind: Any) -> dict[str, object]:
        if kind._fields and not getattr(kind, "__annotations__", {}):
            raise ValidationError("its fields have no types; write class ...(NamedTuple)")
        return {name: kind._field_defaults.get(name, NO_DEFAULT) for name in kind._fields}


class _TypedDict(Shape):
    def matches(self, kind: type) -> bool:
        return is_typeddict(kind)

    def defaults(self, kind: Any) -> dict[str, object]:
        hints = get_type_hints(kind, include_extras=True)
        # A key that need not be there is one whose absence has a meaning of its own. What the class
        # itself says of its keys is wrong where the annotations are strings.
        return {
            name: NO_DEFAULT if _is_required(kind, name, hint) else ABSENT
            for name, hint in hints.items()
        }

    def is_instance(self, kind: type, value: object) -> bool:
        return isinstance(value, dict)

    def values(self, kind: type, value: Any) -> Mapping[str, object]:
        return dict(value)


def _is_required(kind: Any, name: str, hint: object) -> bool:
    if get_origin(hint) in (Required, NotRequired):
        return get_origin(hint) is Required
    return name in kind.__required_keys__


class _Pydantic(Shape):
    def matches(self, kind: type) -> bool:
        # By its attributes: pydantic is no dependency. Its dataclasses have fields of its kind too.
        return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "__pydantic_fields__")

    def defaults(self, kind: Any) -> dict[str, object]:
        if hasattr(kind, "__pydantic_root_model__") and kind.__pydantic_root_model__:
            raise ValidationError("a RootModel has no fields; use its root's type")
        return {name: self._default(field) for name, field in kind.__pydantic_fields__.items()}

    def reason(self, error: ValueError) -> str:
        errors: Callable[..., list[dict[str, Any]]] | None = getattr(error, "errors", None)
        if errors is None:
            return super().reason(error)
        found = errors(include_url=False)
        return "; ".join(
            ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
            for each in found
        )

    @staticmethod
    def _default(field: Any) -> object:
        if field.alias is not None or field.validation_alias is not None:
            raise ValidationError(
                "a field with an alias has two names; leave the alias out, or name the field so"
            )
        if field.is_required():
            return NO_DEFAULT
        if field.default_factory is None:
            return field.default
        takes_data = getattr(field, "default_factory_takes_validated_data", False)
        return Made(partial(field.default_factory, {}) if takes_data else field.default_factory)


_SHAPES: Final = (_Pydantic(), _Dataclass(), _NamedTuple(), _TypedDict())


class StructRow(Row):
    """A class with fields, as a message of its name."""

    #: One row for each class, since a class may hold itself.
    _known: ClassVar[dict[type, Self]] = {}

    def __init__(self, kind: type, shape: Shape, row_of: Lookup) -> None:
        self.kind = kind
        self._shape = shape
        self._row_of = row_of

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if not isinstance(annotation, type) or get_origin(annotation) is not None:
            return None
        for shape in _SHAPES:
            if shape.matches(annotation):
                check_class_name(annotation)
                return cls._known.setdefault(annotation, cls(annotation, shape, row_of))
        return None

    @property
    def name(self) -> str:
        """The message's name in the schema."""
        return self.kind.__name__

    @cached_property
    def fields(self) -> dict[str, StructField]:
        """The fields, in order. Looked up late: a class may hold itself.

        Raises:
            ValidationError: naming the field that has no place on the wire.
        """
        try:
            hints = get_type_hints(self.kind, include_extras=True)
        except (NameError, AttributeError, TypeError, SyntaxError) as error:
            raise ValidationError(
                f"{self.name}: an annotation cannot be evaluated: {error}"
            ) from None
        fields: dict[str, StructField] = {}
        json_names: dict[str, str] = {}
        try:
            defaults = self._shape.defaults(self.kind)
        except ValidationError as error:
            raise ValidationError(f"{self.name}: {error}") from None
        for name, default in defaults.items():
            try:
                refuse_same_json_name(name, json_names)
                fields[name] = self._field(name, hints[name], default)
            except (ValidationError, WireError) as error:
                raise ValidationError(f"{self.name}.{name}: {error}") from None
        if not fields:
            raise ValidationError(f"{self.name} has no fields")
        return fields

    def _field(self, name: str, annotation: object, default: object) -> StructField:
        if not (name.isascii() and is_parameter_name(name)):
            raise ValidationError("a field cannot have this name on the wire; rename it")
        while get_origin(annotation) in (Required, NotRequired):
            (annotation,) = get_args(annotation)
        row = self._row_of(annotation)
        if isinstance(default, Made) and isinstance(row, ListRow | MapRow):
            default = default.factory()
        nullable = isinstance(row, OptionalRow) or default is None
        if default is NO_DEFAULT:
            return StructField(row, default, nullable)
        if default is ABSENT and isinstance(row, ListRow | MapRow | OptionalRow):
            other = "None" if isinstance(row, OptionalRow) else "an empty one"
            raise ValidationError(f"absent cannot be told from {other}; let the key be required")
        if default is not ABSENT and not isinstance(default, Made):
            check_default(row, default)
        return StructField(omissible(row), default, nullable)

    def definition(self) -> DescriptorProto:
        """Return the message's descriptor."""
        message = DescriptorProto(name=self.name)
        for name, field in self.fields.items():
            add_field(message, name, field.row, field.default_json)
        return message

    def make(self, values: Mapping[str, object]) -> object:
        """Return an instance; ``values`` has all fields, None for those that are absent.

        Raises:
            WireError: when the class refuses them, by a ``ValueError``.
            InferenceError: when it raises anything else.
        """
        arguments = {}
        for name, value in values.items():
            field = self.fields[name]
            if value is None and field.default is not NO_DEFAULT:
                continue  # the class has it
            adapt = self._adapters[name]
            arguments[name] = value if adapt is None else adapt(value)
        try:
            instance: object = self.kind(**arguments)
        except ValueError as error:
            raise WireError(f"{self.name} refuses it: {self._shape.reason(error)}") from None
        except Exception as error:
            raise InferenceError(f"{self.name} cannot be made: {error!r}") from error
        return instance

    def take(self, value: object) -> Mapping[str, object]:
        """Return the fields of an instance.

        Raises:
            WireError: when ``value`` is none.
        """
        if not self._shape.is_instance(self.kind, value):
            raise WireError(f"expected {self.name}, got {type(value).__name__}")
        values = self._shape.values(self.kind, value)
        for name, item in values.items():
            if item is None and name in self.fields and not self.fields[name].nullable:
                raise WireError("expected a value, got None", field=name)
        return values

    @cached_property
    def _adapters(self) -> dict[str, Adapter | None]:
        return {name: field.row.adapter() for name, field in self.fields.items()}

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{self.name}"
        field.label = FieldDescriptorProto.LABEL_OPTIONAL

    def parts(self) -> Iterable[Row]:
        return [field.row for field in self.fields.values()]

    def __str__(self) -> str:
        return self.name


def refuse_endless(row: StructRow, within: tuple[StructRow, ...] = ()) -> None:
    """Raise for a class that needs an instance of itself, so that none can be.

    Raises:
        ValidationError: naming the class.
    """
    if row in within:
        raise ValidationError(
            f"{row.name} needs another {row.name}, so that none can be made; let it be optional"
        )
    for field in row.fields.values():
        if isinstance(field.row, StructRow):
            refuse_endless(field.row, (*within, row))
