"""The row of classes with fields: dataclass, TypedDict, NamedTuple, pydantic model."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
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

from blazerpc.exceptions import ValidationError
from blazerpc.rows.base import Adapter, Lookup, Row, add_field
from blazerpc.rows.containers import OptionalRow, omissible
from blazerpc_client.naming import PACKAGE, is_parameter_name
from blazerpc_client.wire.errors import WireError

#: Stands for the default of a field that has none.
NO_DEFAULT: Final = object()


@dataclass(frozen=True)
class StructField:
    """A field: its type, its default or ``NO_DEFAULT``, and whether its value can be None."""

    row: Row
    default: object
    nullable: bool

    @property
    def default_json(self) -> str | None:
        """The default as JSON; None when there is none, or none that JSON can say."""
        return None if self.default is NO_DEFAULT else self.row.default_json(self.default)


class Shape(ABC):
    """How one kind of class is looked into."""

    @abstractmethod
    def matches(self, kind: type) -> bool:
        """Return whether ``kind`` is of this kind."""

    @abstractmethod
    def defaults(self, kind: type) -> dict[str, object]:
        """Return the default of each field, ``NO_DEFAULT`` where it has none, in order."""

    def is_instance(self, kind: type, value: object) -> bool:
        """Return whether ``value`` is an instance of ``kind``."""
        return isinstance(value, kind)

    def values(self, kind: type, value: Any) -> Mapping[str, object]:
        """Return the fields of an instance."""
        return {name: getattr(value, name) for name in self.defaults(kind)}


class _Dataclass(Shape):
    def matches(self, kind: type) -> bool:
        return dataclasses.is_dataclass(kind)

    def defaults(self, kind: type) -> dict[str, object]:
        found: dict[str, object] = {}
        for field in dataclasses.fields(kind):
            if field.init:
                default = field.default
                if field.default_factory is not dataclasses.MISSING:
                    default = field.default_factory()
                found[field.name] = NO_DEFAULT if default is dataclasses.MISSING else default
        return found


class _NamedTuple(Shape):
    def matches(self, kind: type) -> bool:
        return issubclass(kind, tuple) and hasattr(kind, "_fields")

    def defaults(self, kind: Any) -> dict[str, object]:
        return {name: kind._field_defaults.get(name, NO_DEFAULT) for name in kind._fields}


class _TypedDict(Shape):
    def matches(self, kind: type) -> bool:
        return is_typeddict(kind)

    def defaults(self, kind: Any) -> dict[str, object]:
        hints = get_type_hints(kind, include_extras=True)
        # A key that need not be there is one whose absence has a meaning of its own. What the class
        # itself says of its keys is wrong where the annotations are strings.
        return {
            name: NO_DEFAULT if _is_required(kind, name, hint) else None
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
        # By its attributes: pydantic is no dependency.
        return hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_fields")

    def defaults(self, kind: Any) -> dict[str, object]:
        return {
            name: NO_DEFAULT
            if field.is_required()
            else field.get_default(call_default_factory=True)
            for name, field in kind.model_fields.items()
        }


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
        for name, default in self._shape.defaults(self.kind).items():
            try:
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
        nullable = isinstance(row, OptionalRow) or default is None
        if default is NO_DEFAULT:
            return StructField(row, default, nullable)
        if isinstance(row, OptionalRow) and default is not None:
            raise ValidationError("absent would mean None and the default; let it be None")
        if default is not None:
            row.default_json(default)  # raises for a default that is not of the type
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
            WireError: when the class refuses them.
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
        except (ValueError, TypeError) as error:
            raise WireError(f"{self.name} refuses it: {error}") from None
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
