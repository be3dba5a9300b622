"""Protobuf's JSON -> messages; what is wrong is named in one line, and what is quoted is short.

https://protobuf.dev/programming-guides/json/
A member of an enum may be its name in Python, too. ``json_format`` of protobuf names the wrong
field less well, and quotes a body of any length once for each level of it.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from blazerpc.rows.enums import ZERO
from blazerpc_client.wire.depth import MAX_DEPTH, too_deep
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import is_map
from blazerpc_client.wire.large import TENSOR_MESSAGE
from blazerpc_client.wire.options import read_tensor
from blazerpc_client.wire.scalars import SCALARS
from blazerpc_client.wire.values import DURATION_MESSAGE, TIMESTAMP_MESSAGE, enum_members

T = TypeVar("T")

_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,4})?")
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

#: What a time is like, by its message.
_TIMES: Final = {TIMESTAMP_MESSAGE: "2026-01-31T12:00:00Z", DURATION_MESSAGE: "1.5s"}


def fill(message: Any, document: Mapping[str, object], depth: int = 0) -> None:
    """Fill an empty message of the server's own with what a JSON object holds.

    Args:
        message: that is filled.
        document: as ``json.loads`` gives it; null is a field that is absent.
        depth: of messages around this one.

    Raises:
        WireError: naming the field.
    """
    if depth > MAX_DEPTH:
        raise too_deep()
    for name, value in document.items():
        field = _field(message.DESCRIPTOR, name)
        message.ClearField(field.name)  # of its two names, the last one counts
        if value is None:
            continue
        try:
            if is_map(field):
                _fill_map(getattr(message, field.name), field, _checked(value, dict), depth)
            elif field.is_repeated:
                _fill_list(getattr(message, field.name), field, _checked(value, list), depth)
            elif field.message_type is not None:
                part = getattr(message, field.name)
                part.SetInParent()  # a message whose fields are all zero is there all the same
                _fill_part(part, field, value, depth)
            else:
                setattr(message, field.name, _reader(field)(value))
        except WireError as error:
            raise error.at(field.name) from None


def _field(descriptor: Descriptor, name: str) -> FieldDescriptor:
    field = descriptor.fields_by_name.get(name)
    if field is None:
        field = next((field for field in descriptor.fields if field.json_name == name), None)
    if field is None:
        known = ", ".join(field.name for field in descriptor.fields) or "none"
        raise WireError(f"no field {name[:40]!r}; there are: {known}")
    return field


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        expected = "object" if kind is dict else kind.__name__
        raise WireError(f"expected {expected}, got {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """Return what a value is, in a few characters."""
    if value is None:
        return "null"
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


def _fill_map(
    entries: Any, field: FieldDescriptor, value: Mapping[str, object], depth: int
) -> None:
    assert field.message_type is not None
    parts = field.message_type.fields_by_name
    key_field, value_field = parts["key"], parts["value"]
    key_type, is_message = key_field.type, value_field.message_type is not None
    read = None if is_message else _reader(value_field)
    for text, item in value.items():
        try:
            key = _key(key_type, text)
            if read is None:
                # The entry is a level of its own.
                _fill_part(entries[key], field, item, depth + 1, value_field.message_type)
            else:
                entries[key] = read(item)
        except WireError as error:
            raise error.at(f"[{text[:40]!r}]") from None


def _key(kind: int, text: str) -> object:
    """Return the key that a name in a JSON object stands for."""
    if kind == FieldDescriptor.TYPE_BOOL:
        return SCALARS[kind].convert({"true": True, "false": False}.get(text, text))
    return text if kind == FieldDescriptor.TYPE_STRING else _integer(kind, text)


def _fill_list(items: Any, field: FieldDescriptor, value: list[object], depth: int) -> None:
    read = _reader(field) if field.message_type is None else None
    for index, item in enumerate(value):
        try:
            if read is None:
                _fill_part(items.add(), field, item, depth)
            else:
                items.append(read(item))
        except WireError as error:
            raise error.at(f"[{index}]") from None


def _fill_part(
    part: Any,
    field: FieldDescriptor,
    value: object,
    depth: int,
    kind: Descriptor | None = None,
) -> None:
    """Fill a message inside another; ``field`` declares its tensor: of a map's, the map."""
    kind = kind or field.message_type
    assert kind is not None
    if kind.full_name in _TIMES:
        _fill_time(part, value, _TIMES[kind.full_name])
    elif kind.full_name == TENSOR_MESSAGE and not isinstance(value, dict):
        form = '{"shape": [...], "dtype": "...", "data": base64}'
        raise WireError(f"expected {read_tensor(field)} as {form}, got {_shown(value)}")
    else:
        fill(part, _checked(value, dict), depth + 1)


def _fill_time(part: Any, value: object, example: str) -> None:
    text = _checked(value, str)
    try:
        part.FromJsonString(text)
    except (ValueError, OverflowError):
        raise WireError(f"no time: {_shown(value)}; write {example}") from None


def _reader(field: FieldDescriptor) -> Callable[[object], object]:
    """Return what makes protobuf's value of JSON's; it raises ``WireError``."""
    if field.enum_type is not None:
        return partial(_member, field.enum_type)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes
    python = SCALARS[field.type].python
    if python is int:
        return partial(_integer, field.type)
    return partial(_float, field.type) if python is float else SCALARS[field.type].convert


@lru_cache(maxsize=256)
def _members(enum: EnumDescriptor) -> Mapping[str, int]:
    return enum_members(enum)


def _member(enum: EnumDescriptor, value: object) -> object:
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        known = enum.values_by_name.get(value)
        if known is not None:
            return known.number
        members = _members(enum)
        if value not in members:
            # The server refuses the zero that an enum has only for protobuf.
            names = [name for name in members if (name, members[name]) != (ZERO, 0)]
            raise WireError(f"expected one of {', '.join(names)}, got {_shown(value)}")
        return members[value]
    return _integer(FieldDescriptor.TYPE_INT32, value)


def _integer(kind: int, value: object) -> object:
    if isinstance(value, str):
        if not _INTEGER.fullmatch(value):
            raise WireError(f"expected int, got {_shown(value)}")
        value = int(value)
    elif isinstance(value, bool):
        raise WireError("expected int, got bool")
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return SCALARS[kind].convert(value)


def _float(kind: int, value: object) -> object:
    if isinstance(value, str):
        if value not in _NOT_FINITE and not _NUMBER.fullmatch(value):
            raise WireError(f"expected float, got {_shown(value)}")
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        value = float(value)
    elif isinstance(value, bool):
        raise WireError("expected float, got bool")
    if isinstance(value, float) and not math.isfinite(value):
        raise WireError('JSON has no such number; write "NaN", "Infinity" or "-Infinity"')
    return SCALARS[kind].convert(value)


def _bytes(value: object) -> bytes:
    """Return the bytes of base64, in either alphabet, with padding or without."""
    text = _checked(value, str).translate(_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):  # ValueError: of text that is not ASCII
        raise WireError("not base64, which bytes are written in") from None


_URL_SAFE: Final = str.maketrans("-_", "+/")
