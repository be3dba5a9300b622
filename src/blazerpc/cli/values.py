"""Plain values of a field <-> JSON and the text of an argument, decided by the field's descriptor.

Plain values are those of a dynamic client: a message is a dict, an enum member its name. What is
made here is not checked against the schema: the codecs of the client do that, and say it better.

    bytes       base64                        message     object
    datetime    ISO 8601                      list        array
    timedelta   seconds                       dict        object; its keys are text
    tensor      nested arrays, see arrays.py  float       number, "NaN", "Infinity", "-Infinity"
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from blazerpc.cli.arrays import (
    array_from_json,
    array_to_json,
    bytes_from_text,
    float_from_json,
    float_to_json,
    shortened,
)
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import is_map, is_optional
from blazerpc_client.wire.large import TENSOR_MESSAGE
from blazerpc_client.wire.options import read_tensor
from blazerpc_client.wire.scalars import SCALARS
from blazerpc_client.wire.tensors import TensorSpec
from blazerpc_client.wire.values import (
    DURATION_MESSAGE,
    TIMESTAMP_MESSAGE,
    WRAPPERS,
    enum_members,
)

#: Writes an array of a declared type.
ArrayWriter = Callable[[Any, TensorSpec | None], object]

_MICROSECONDS: Final = 1_000_000
_MAX_SECONDS: Final = timedelta.max // timedelta(seconds=1)


def parse_json(text: str | bytes) -> object:
    """Return the value of a JSON text.

    Raises:
        WireError: saying where the text is none.
    """
    try:
        value: object = json.loads(text.decode() if isinstance(text, bytes) else text)
    except UnicodeDecodeError:
        raise WireError("not JSON: not UTF-8 text") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise WireError(f"not JSON at {line}column {error.colno}: {error.msg}") from None
    except ValueError:  # of a number with more digits than Python reads
        raise WireError("not JSON: a number of too many digits") from None
    except RecursionError:
        raise WireError("nested too deeply") from None
    return value


def from_text(field: FieldDescriptor, text: str) -> object:
    """Return the value that an argument's text stands for.

    A string is the text as it is; bytes, times, durations and members of enums are written without
    quotes; all else is JSON. ``null`` is None where the field may be absent.

    Raises:
        WireError: when the text stands for none.
    """
    if text == "null" and is_optional(field):
        return None
    kind = kind_of(field)
    if kind == "enum":
        return _member(field, text)
    if kind in ("str", "bytes", "datetime", "timedelta"):
        return _one_from_json(field, field, text)
    return from_json(field, parse_json(text))


def kind_of(field: FieldDescriptor) -> str:
    """Return what a field holds.

    Returns:
        ``list``, ``dict``, ``message``, ``enum``, ``tensor``, ``datetime``, ``timedelta``, or the
        Python name of a scalar.
    """
    if is_map(field):
        return "dict"
    return "list" if field.is_repeated else _kind_of_one(field)


def _kind_of_one(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return "enum"
    if field.message_type is None:
        return SCALARS[field.type].python.__name__
    name = field.message_type.full_name
    if name in WRAPPERS:
        return WRAPPERS[name].python.__name__
    return _KINDS.get(name, "message")


_KINDS: Final = {
    TENSOR_MESSAGE: "tensor",
    TIMESTAMP_MESSAGE: "datetime",
    DURATION_MESSAGE: "timedelta",
}


def from_json(field: FieldDescriptor, value: object) -> object:
    """Return the plain value that a JSON value stands for.

    A JSON value of another type than the field's is returned as it is, for the codec to refuse.

    Raises:
        WireError: naming the field, when it stands for none.
    """
    try:
        if is_map(field) and isinstance(value, dict):
            return _map_from_json(field, value)
        if field.is_repeated and not is_map(field) and isinstance(value, list):
            return _each(value, lambda item: _one_from_json(field, field, item))
        return value if field.is_repeated else _one_from_json(field, field, value)
    except RecursionError:
        raise WireError("nested too deeply") from None


def _one_from_json(field: FieldDescriptor, outer: FieldDescriptor, value: object) -> object:
    """Return one value; ``outer`` is the field that declares its tensor: of a map's, the map."""
    if value is None:
        return None
    match _kind_of_one(field):
        case "tensor":
            return array_from_json(value, read_tensor(outer))
        case "timedelta":
            return _duration(value)
        case "datetime" if isinstance(value, str):
            return _time(value)
        case "bytes" if isinstance(value, str):
            return bytes_from_text(value)
        case "float":
            return float_from_json(value)
        case "message" if isinstance(value, dict):
            assert field.message_type is not None
            return message_from_json(field.message_type, value)
    return value


def message_from_json(descriptor: Descriptor, value: dict[str, object]) -> dict[str, object]:
    """Return the fields of a message; names that it has not are left for the codec to refuse.

    Raises:
        WireError: as ``from_json`` does.
    """
    made: dict[str, object] = {}
    for name, item in value.items():
        field = descriptor.fields_by_name.get(name)
        try:
            made[name] = item if field is None else from_json(field, item)
        except WireError as error:
            raise error.at(name) from None
    return made


def _map_from_json(field: FieldDescriptor, value: dict[str, object]) -> dict[object, object]:
    key_field, value_field = _entry(field)
    made: dict[object, object] = {}
    for text, item in value.items():
        try:
            made[_key(_kind_of_one(key_field), text)] = _one_from_json(value_field, field, item)
        except WireError as error:
            raise error.at(f"[{text[:40]!r}]") from None
    return made


def _key(kind: str, text: str) -> object:
    """Return the key that a name in a JSON object stands for."""
    if kind == "bool":
        return {"true": True, "false": False}.get(text, text)
    if kind == "int":
        try:
            number = int(text)
        except ValueError:
            return text
        return number if str(number) == text else text  # "01" is not a second way to say "1"
    return text


def _each(items: list[object], convert: Callable[[object], object]) -> list[object]:
    made: list[object] = []
    try:
        for item in items:
            made.append(convert(item))  # noqa: PERF401 - its length is the failing index
    except WireError as error:
        raise error.at(f"[{len(made)}]") from None
    return made


def _entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    assert field.message_type is not None
    fields = field.message_type.fields_by_name
    return fields["key"], fields["value"]


def _member(field: FieldDescriptor, text: str) -> object:
    """Return the name of an enum's member, or the number of one that may have no name."""
    assert field.enum_type is not None
    if text not in enum_members(field.enum_type):
        try:
            return int(text)
        except ValueError:
            pass  # the codec lists the names
    return text


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise WireError(f"no time: {text[:40]!r}; write 2026-01-31T12:00:00Z") from None
    if time.utcoffset() is None:
        raise WireError("no time zone; write 2026-01-31T12:00:00Z")
    return time


def _duration(value: object) -> timedelta:
    """Return the duration of some seconds, exactly when they are an integer or a text."""
    if type(value) not in (int, float, str):
        raise WireError(f"expected seconds, got {type(value).__name__}")
    try:
        seconds = Decimal(str(value))
        if not -_MAX_SECONDS < seconds < _MAX_SECONDS:
            raise WireError("out of range for a duration")
    except InvalidOperation:  # of a comparison with NaN, too
        raise WireError(f"no seconds: {str(value)[:40]!r}; write 1.5") from None
    return timedelta(microseconds=int((seconds * _MICROSECONDS).to_integral_value()))


def to_json(field: FieldDescriptor, value: object, arrays: ArrayWriter = array_to_json) -> object:
    """Return what ``from_json`` makes the same value of; None is null.

    Args:
        field: that holds the value.
        value: as a dynamic client gives it.
        arrays: writes an array of a declared type.
    """
    if is_map(field):
        assert isinstance(value, dict)
        _, value_field = _entry(field)
        return {
            str(key).lower() if isinstance(key, bool) else str(key): _one_to_json(
                value_field, field, item, arrays
            )
            for key, item in value.items()
        }
    if field.is_repeated:
        assert isinstance(value, list)
        return [_one_to_json(field, field, item, arrays) for item in value]
    return _one_to_json(field, field, value, arrays)


def message_to_json(
    descriptor: Descriptor, values: dict[str, object], arrays: ArrayWriter = array_to_json
) -> dict[str, object]:
    """Return what ``message_from_json`` makes the same message of; what is absent is null."""
    return {
        name: to_json(descriptor.fields_by_name[name], value, arrays)
        for name, value in values.items()
    }


def _one_to_json(
    field: FieldDescriptor, outer: FieldDescriptor, value: Any, arrays: ArrayWriter
) -> object:
    if value is None:
        return None
    match _kind_of_one(field):
        case "tensor":
            return arrays(value, read_tensor(outer))
        case "timedelta":
            return _seconds(value)
        case "datetime":
            return str(value.isoformat())
        case "bytes":
            return base64.b64encode(value).decode()
        case "float":
            return float_to_json(shortened(np.float32(value)) if _is_short(field) else value)
        case "message":
            assert field.message_type is not None
            return message_to_json(field.message_type, value, arrays)
    return value


def _is_short(field: FieldDescriptor) -> bool:
    if field.message_type is not None:
        return field.message_type.full_name == "google.protobuf.FloatValue"
    return field.type == FieldDescriptor.TYPE_FLOAT


def _seconds(value: timedelta) -> float | str:
    """Return the seconds, as text where a float is not as fine as the duration."""
    seconds = value.total_seconds()
    if _duration(seconds) == value:
        return seconds
    return str(Decimal(value // timedelta(microseconds=1)) / _MICROSECONDS)
