"""Rows of values in others: lists, maps, and values that may be absent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Final, Self, Union, get_args, get_origin

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from blazerpc.exceptions import ValidationError
from blazerpc.rows.base import Adapter, Lookup, Row
from blazerpc.rows.scalars import FIELD_TYPES, not_omissible
from blazerpc.types import unaliased
from blazerpc_client.naming import PACKAGE, map_entry_name

#: Types that a map's keys may have, in Python and in protobuf.
_KEYS: Final = {str: "string", int: "int64"}


@dataclass(frozen=True)
class ListRow(Row):
    """``list[T]``."""

    item: Row

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if get_origin(annotation) is not list or not get_args(annotation):
            return None
        item = row_of(get_args(annotation)[0])
        _refuse_nested(item, "a list")
        return cls(item)

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        self.item.describe(field, message)
        field.label = FieldDescriptorProto.LABEL_REPEATED

    def adapter(self) -> Adapter | None:
        adapt = self.item.adapter()
        if adapt is None:
            return None

        def adapt_each(values: object) -> object:
            assert isinstance(values, list)  # the codec of a repeated field reads a list
            return [adapt(value) for value in values]

        return adapt_each

    def default_json(self, default: object) -> str | None:
        return not_omissible(default, [])

    def parts(self) -> Iterable[Row]:
        return (self.item,)

    def __str__(self) -> str:
        return f"list[{self.item}]"


@dataclass(frozen=True)
class MapRow(Row):
    """``dict[str, T]`` and ``dict[int, T]``."""

    key: str
    value: Row

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if get_origin(annotation) is not dict or not get_args(annotation):
            return None
        key, value = get_args(annotation)
        key = unaliased(key)
        if key not in _KEYS:
            raise ValidationError("the keys of a dict are str or int")
        row = row_of(value)
        _refuse_nested(row, "a dict")
        return cls(_KEYS[key], row)

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        # What protoc makes of map<K, V>: a list of messages of a type made for it.
        entry = message.nested_type.add(name=map_entry_name(field.name))
        entry.options.map_entry = True
        key = entry.field.add(name="key", number=1, label=FieldDescriptorProto.LABEL_OPTIONAL)
        key.type = FIELD_TYPES[self.key]
        value = entry.field.add(name="value", number=2)
        self.value.describe(value, entry)
        # .proto text has no place for options inside map<>.
        field.options.CopyFrom(value.options)
        value.ClearField("options")
        if not field.options.ByteSize():
            field.ClearField("options")
        field.type = FieldDescriptorProto.TYPE_MESSAGE
        field.label = FieldDescriptorProto.LABEL_REPEATED
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"

    def adapter(self) -> Adapter | None:
        adapt = self.value.adapter()
        if adapt is None:
            return None

        def adapt_each(values: object) -> object:
            assert isinstance(values, dict)  # the codec of a map reads a dict
            return {key: adapt(value) for key, value in values.items()}

        return adapt_each

    def default_json(self, default: object) -> str | None:
        return not_omissible(default, {})

    def parts(self) -> Iterable[Row]:
        return (self.value,)

    def __str__(self) -> str:
        key = next(python.__name__ for python, name in _KEYS.items() if name == self.key)
        return f"dict[{key}, {self.value}]"


@dataclass(frozen=True)
class OptionalRow(Row):
    """``T | None``: a value that may be absent."""

    present: Row

    @classmethod
    def match(cls, annotation: object, row_of: Lookup) -> Self | None:
        if get_origin(annotation) not in (Union, UnionType):
            return None
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        if len(kinds) == len(get_args(annotation)) or len(kinds) > 1:
            raise ValidationError("a union is not supported, but for T | None")
        present = row_of(kinds[0])
        if isinstance(present, ListRow | MapRow):
            what = "list" if isinstance(present, ListRow) else "dict"
            raise ValidationError(
                f"protobuf cannot tell an absent {what} from an empty one; leave the None out"
            )
        return cls(present)

    def default_json(self, default: object) -> str | None:
        return None if default is None else self.present.default_json(default)

    def describe(self, field: FieldDescriptorProto, message: DescriptorProto) -> None:
        self.present.describe(field, message)
        field.proto3_optional = True

    def adapter(self) -> Adapter | None:
        adapt = self.present.adapter()
        return None if adapt is None else lambda value: None if value is None else adapt(value)

    def parts(self) -> Iterable[Row]:
        return (self.present,)

    def __str__(self) -> str:
        return f"{self.present} | None"


def omissible(row: Row) -> Row:
    """Return the row of a value of this type that may be left out, since it has a default."""
    return row if isinstance(row, ListRow | MapRow | OptionalRow) else OptionalRow(row)


def check_default(row: Row, default: object) -> None:
    """Raise for a default that a value's absence cannot stand for.

    Raises:
        ValidationError: when absence means something else already.
        WireError: when the default is not of the type.
    """
    if isinstance(row, OptionalRow):
        if default is not None:
            raise ValidationError("absent would mean None and the default; let it be None")
    elif default is not None or isinstance(row, ListRow | MapRow):
        row.default_json(default)


def _refuse_nested(row: Row, what: str) -> None:
    if isinstance(row, ListRow | MapRow | OptionalRow):
        raise ValidationError(
            f"{what} of {row} has no form in protobuf; put {row} into a dataclass"
        )
