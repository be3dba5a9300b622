"""The row of ``enum.Enum``."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Self

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
)

from blazerpc.exceptions import ValidationError
from blazerpc.rows.base import Lookup, Row, check_class_name
from blazerpc_client.naming import PACKAGE, enum_value_name
from blazerpc_client.wire.errors import WireError

#: Bounds of an enum's numbers in protobuf.
_MIN, _MAX = -(2**31), 2**31 - 1

#: The value of an enum that has no zero of its own.
ZERO: Final = "UNSPECIFIED"


@dataclass(frozen=True)
class EnumRow(Row):
    """An enum; its members have their own numbers if these are ints, else 1, 2, ... in order."""

    kind: type[enum.Enum]

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if not isinstance(annotation, type) or not issubclass(annotation, enum.Enum):
            return None
        check_class_name(annotation)
        if issubclass(annotation, enum.Flag):
            raise ValidationError(
                f"{annotation.__name__} is a Flag, whose combinations have no names; use list[...] "
                "of an Enum"
            )
        if not list(annotation):
            raise ValidationError(f"{annotation.__name__} is an enum without members")
        row = cls(annotation)
        for member, number in row.numbers.items():
            if not _MIN <= number <= _MAX:
                raise ValidationError(f"{member} is beyond the 32 bits of an enum in protobuf")
            if not (member.name.isidentifier() and member.name.isascii()):
                raise ValidationError(f"{member}: a name on the wire is ASCII; rename it")
        if 0 not in row.members and ZERO in annotation.__members__:
            raise ValidationError(
                f"{annotation.__name__}.{ZERO}: the zero that protobuf needs is called so; rename "
                "it, or let the members have numbers, and this one 0"
            )
        return row

    @property
    def name(self) -> str:
        """The enum's name in the schema."""
        return self.kind.__name__

    @property
    def is_numbered(self) -> bool:
        """Whether the members' values are their numbers."""
        return all(type(member.value) is int for member in self.kind)

    @cached_property
    def numbers(self) -> dict[enum.Enum, int]:
        """The number of each member."""
        members = list(self.kind)
        if self.is_numbered:
            return {member: int(member.value) for member in members}
        return {member: number for number, member in enumerate(members, 1)}

    @cached_property
    def members(self) -> dict[int, enum.Enum]:
        """The member of each number."""
        return {number: member for member, number in self.numbers.items()}

    def definition(self) -> EnumDescriptorProto:
        """Return the enum's descriptor; a zero value comes first, as proto3 wants it."""
        descriptor = EnumDescriptorProto(name=self.name)
        values = {number: member.name for number, member in self.members.items()}
        values.setdefault(0, ZERO)
        for number in sorted(values, key=lambda number: (number != 0, list(values).index(number))):
            name = enum_value_name(self.name, values[number])
            descriptor.value.add(name=name, number=number)
        return descriptor

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        field.type = FieldDescriptorProto.TYPE_ENUM
        field.type_name = f".{PACKAGE}.{self.name}"
        field.label = FieldDescriptorProto.LABEL_OPTIONAL

    def default_json(self, default: object) -> str | None:
        if not isinstance(default, self.kind):
            raise WireError(f"expected {self.name}, got {type(default).__name__}")
        return json.dumps(default.name)

    def __str__(self) -> str:
        return self.name


class EnumMembers:
    """An enum's members by the numbers that the schema has for them, which a lock may have set."""

    def __init__(self, row: EnumRow, descriptor: EnumDescriptor) -> None:
        self._kind = row.kind
        values = descriptor.values_by_name
        self._numbers = {
            member: values[enum_value_name(row.name, member.name)].number for member in row.kind
        }
        self._members = {number: member for member, number in self._numbers.items()}

    def make(self, number: int) -> object:
        """Return the member of that number.

        Raises:
            WireError: when there is none.
        """
        member = self._members.get(number)
        if member is None:
            expected = ", ".join(member.name for member in self._numbers)
            got = "none of them" if number == 0 else str(number)
            raise WireError(f"expected one of {expected}; got {got}")
        return member

    def take(self, value: object) -> int:
        """Return the number of a member.

        Raises:
            WireError: when ``value`` is none.
        """
        if not isinstance(value, self._kind):
            raise WireError(f"expected {self._kind.__name__}, got {type(value).__name__}")
        return self._numbers[value]
