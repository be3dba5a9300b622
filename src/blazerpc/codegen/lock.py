"""The lock file: which number each field and each enum's member has, for good.

Without one, fields are numbered in the order in which they are written, and reordering parameters
changes the wire. With one, what is in it keeps its number, what is new gets the next that was never
used, and what is gone is reserved.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from blazerpc.codegen.fields import field_type
from blazerpc.exceptions import ConfigurationError
from blazerpc_client.wire.options import field_options

#: Numbers that protobuf keeps for itself, https://protobuf.dev/programming-guides/proto3/.
_FIRST_OF_PROTOBUF, _LAST_OF_PROTOBUF = 19_000, 19_999
_MAX_NUMBER: Final = 2**29 - 1

_ABOUT: Final = "Numbers on the wire; `blaze proto --lock` keeps this file, which is committed."


@dataclass(frozen=True, slots=True)
class LockedField:
    """A field's number and type."""

    number: int
    type: str


@dataclass(frozen=True, slots=True)
class SchemaLock:
    """What a lock file says.

    Attributes:
        messages: the fields of each message, those that are gone included.
        enums: the numbers of each enum's values, likewise.
    """

    messages: Mapping[str, Mapping[str, LockedField]]
    enums: Mapping[str, Mapping[str, int]]

    @classmethod
    def read(cls, path: Path) -> SchemaLock:
        """Return what the file says.

        Raises:
            ConfigurationError: when it is no lock file.
            OSError: when it cannot be read.
        """
        try:
            data = json.loads(path.read_text())
            lock = cls(
                {
                    message: {
                        name: LockedField(int(field["number"]), str(field["type"]))
                        for name, field in fields.items()
                    }
                    for message, fields in data["messages"].items()
                },
                {
                    enum: {name: int(number) for name, number in values.items()}
                    for enum, values in data["enums"].items()
                },
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ConfigurationError(f"{path} is no schema lock: {what}") from None
        for message, fields in lock.messages.items():
            _check_numbers(path, message, {name: field.number for name, field in fields.items()})
            for name, field in fields.items():
                if not _is_field_number(field.number):
                    raise ConfigurationError(
                        f"{path}: {message}.{name} has the number {field.number}, which no field "
                        "can have"
                    )
        for enum, values in lock.enums.items():
            _check_numbers(path, enum, values)
        return lock

    def write(self, path: Path) -> None:
        """Write the file; the same lock gives the same bytes.

        Raises:
            OSError: when the file system refuses.
        """
        messages = {
            message: {name: {"number": f.number, "type": f.type} for name, f in fields.items()}
            for message, fields in self.messages.items()
        }
        data: dict[str, Any] = {"about": _ABOUT, "messages": messages, "enums": self.enums}
        # Whole or not at all: half a lock would be no lock.
        with tempfile.NamedTemporaryFile(
            "w", dir=path.absolute().parent, prefix=f".{path.name}.", delete=False
        ) as file:
            file.write(json.dumps(data, indent=2, sort_keys=True) + "\n")
        Path(file.name).chmod(0o644)
        os.replace(file.name, path)

    def apply(self, file: FileDescriptorProto, numbered: Container[str] = ()) -> SchemaLock:
        """Give the fields of ``file`` their locked numbers, and return the lock that has them all.

        Args:
            file: whose fields and enums these are.
            numbered: enums whose numbers are their members' own values.

        Raises:
            ConfigurationError: naming the field whose type, or the member whose number has changed.
        """
        messages = {name: dict(fields) for name, fields in self.messages.items()}
        for message in file.message_type:
            _number_fields(message, messages.setdefault(message.name, {}))
        enums = {name: dict(values) for name, values in self.enums.items()}
        for enum in file.enum_type:
            _number_values(enum, enums.setdefault(enum.name, {}), enum.name in numbered)
        return SchemaLock(messages, enums)


EMPTY: Final = SchemaLock({}, {})


def _number_fields(message: DescriptorProto, locked: dict[str, LockedField]) -> None:
    present = {field.name for field in message.field}
    for field in message.field:
        kind = _type(message, field)
        known = locked.get(field.name)
        if known is None:
            used = [other.number for other in locked.values()]
            locked[field.name] = known = LockedField(_next(used), kind)
        if known.type != kind:
            raise ConfigurationError(
                f"{message.name}.{field.name} is {kind}, and locked as {known.type}; give the new "
                "one another name, or the model another version"
            )
        field.number = known.number
    for name, gone in locked.items():
        if name not in present:
            message.reserved_range.add(start=gone.number, end=gone.number + 1)
            message.reserved_name.append(name)


def _number_values(enum: EnumDescriptorProto, locked: dict[str, int], own: bool) -> None:
    present = {value.name for value in enum.value}
    for value in enum.value:
        where = f"{enum.name}.{value.name}"
        if value.name not in locked:
            if value.number in locked.values():
                if own:
                    raise ConfigurationError(f"{where} has the number of another, or of one gone")
                value.number = _next(list(locked.values()))
            locked[value.name] = value.number
        elif own and locked[value.name] != value.number:
            raise ConfigurationError(
                f"{where} is {value.number}, and locked as {locked[value.name]}; give the new one "
                "another name"
            )
        value.number = locked[value.name]
    for name, number in locked.items():
        if name not in present:
            # Of an enum, unlike a message, the end belongs to the range.
            enum.reserved_range.add(start=number, end=number)
            enum.reserved_name.append(name)


def _is_field_number(number: int) -> bool:
    return 0 < number <= _MAX_NUMBER and not _FIRST_OF_PROTOBUF <= number <= _LAST_OF_PROTOBUF


def _check_numbers(path: Path, where: str, numbers: Mapping[str, int]) -> None:
    """Raise for a number that two names have: what a merge of two branches makes of a lock."""
    names: dict[int, str] = {}
    for name, number in numbers.items():
        other = names.setdefault(number, name)
        if other != name:
            raise ConfigurationError(
                f"{path}: {where}.{other} and {where}.{name} both have the number {number}; take "
                "out the one that no client has yet, and run blaze proto --lock again"
            )


def _next(used: list[int]) -> int:
    number = max(used, default=0) + 1
    return _LAST_OF_PROTOBUF + 1 if number == _FIRST_OF_PROTOBUF else number


def _type(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    """Return the type as the lock has it: with a tensor's dtype, without whether it is optional."""
    text = field_type(message, field)
    dtype = next(
        (
            str(value.dtype)
            for option, value in field_options(field.options).ListFields()
            if option.name == "tensor"
        ),
        "",
    )
    if field.label == FieldDescriptorProto.LABEL_REPEATED and not text.startswith("map<"):
        text = f"repeated {text}"
    return f"{text} of {dtype}" if dtype else text
