"""What every row of the type table can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Self

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from blazerpc.exceptions import ValidationError
from blazerpc_client.naming import json_name
from blazerpc_client.wire.options import write_default

#: Turns the plain value of the wire into what the function's annotation says.
Adapter = Callable[[object], object]

#: Finds the row of an annotation that stands inside another one.
Lookup = Callable[[object], "Row"]


class Row(ABC):
    """What one annotation means."""

    @classmethod
    @abstractmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        """Return the row for ``annotation``, None when it is of another kind.

        Raises:
            ValidationError: when it is of this kind and not allowed.
        """

    @abstractmethod
    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        """Set type, label and options of the field of ``message`` that carries a value."""

    @abstractmethod
    def __str__(self) -> str:
        """Return the type as one tells it to a person."""

    def default_json(self, default: object) -> str | None:
        """Return a default as JSON, for people to read; None when JSON has no word for it.

        Raises:
            WireError: when the default is not of this type.
        """
        return None

    def adapter(self) -> Adapter | None:
        """Return what turns the wire's plain value into the annotated type, None if nothing has to.

        Decided once, so that most values pass through no call at all.
        """
        return None

    def parts(self) -> Iterable[Row]:
        """Return the rows that this one is made of."""
        return ()


def add_field(message: DescriptorProto, name: str, row: Row, default: str | None) -> None:
    """Add the field of a value to ``message``, with its default as JSON."""
    field = message.field.add(name=name, number=len(message.field) + 1)
    row.describe(field, message)
    if default is not None:
        write_default(field, default)
    if field.proto3_optional:
        # protoc puts an optional field alone into a oneof of this name, and so must we.
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def check_class_name(kind: type) -> None:
    """Raise ``ValidationError`` for a class whose name no message or enum can have."""
    name = kind.__name__
    if not (name.isascii() and name.isidentifier()):
        raise ValidationError(
            f"class {name} has a name that has no place on the wire; make it a class of another "
            "name, with letters and digits"
        )


def refuse_same_json_name(name: str, known: dict[str, str]) -> None:
    """Raise for a field whose JSON name one before it has; protoc refuses these.

    Args:
        name: of the field.
        known: names of the fields before it by their JSON names; the field is added.

    Raises:
        ValidationError: naming the other.
    """
    other = known.setdefault(json_name(name), name)
    if other != name:
        raise ValidationError(f"protobuf's JSON name of it is also that of {other!r}; rename one")


def walk(row: Row, seen: set[int] | None = None) -> Iterator[Row]:
    """Yield ``row`` and every row inside it, each once; a type may hold itself."""
    seen = set() if seen is None else seen
    if id(row) not in seen:
        seen.add(id(row))
        yield row
        for part in row.parts():
            yield from walk(part, seen)
