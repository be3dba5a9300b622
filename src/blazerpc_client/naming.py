"""How names on the wire become names in Python: one rule for the generator and for the server."""

from __future__ import annotations

import keyword
import re
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

#: Names that protobuf's message classes have themselves, which a field would hide.
MESSAGE_NAMES: Final = frozenset(dir(Message)) | {"DESCRIPTOR", "FromString", "Extensions"}

#: Methods that every client has.
_CLIENT_NAMES: Final = frozenset({"close", "with_options"})

#: The protobuf package of what a BlazeRPC server defines.
PACKAGE: Final = "blazerpc"

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def method_name(rpc: str) -> str:
    """Return the client's method name of an rpc: ``PredictMyModel`` gives ``predict_my_model``.

    A name that Python or every client has already gets an underscore: ``Import``, ``import_``.
    """
    name = _WORD_START.sub("_", rpc).lower()
    if name.startswith("_"):
        return f"rpc{name}"
    return f"{name}_" if keyword.iskeyword(name) or name in _CLIENT_NAMES else name


def client_name(service: str) -> str:
    """Return the client class of a service: ``pkg.FooService`` and ``Foo`` give ``FooClient``."""
    return service.rpartition(".")[2].removesuffix("Service") + "Client"


def map_entry_name(field: str) -> str:
    """Return protoc's name for the entries of a map field: ``by_id`` gives ``ByIdEntry``."""
    return "".join(part[:1].upper() + part[1:] for part in field.split("_")) + "Entry"


def json_name(field: str) -> str:
    """Return protobuf's name of a field in JSON: ``by_id`` gives ``byId``."""
    return re.sub("_+(.?)", lambda match: match[1].upper(), field)


def enum_value_name(enum: str, member: str) -> str:
    """Return the name of an enum's value in protobuf, where all values share one scope."""
    return f"{_enum_prefix(enum)}{member}"


def enum_member_names(enum: str, values: Sequence[str]) -> list[str]:
    """Return the names of an enum's values in Python, without what repeats the enum's name."""
    prefix = _enum_prefix(enum)
    members = [value.removeprefix(prefix) for value in values]
    members = [
        member if member.isidentifier() else value
        for member, value in zip(members, values, strict=True)
    ]
    return members if len(set(members)) == len(members) else list(values)


def _enum_prefix(enum: str) -> str:
    return _WORD_START.sub("_", enum).upper() + "_"


def is_parameter_name(name: str) -> bool:
    """Return whether a field of that name can be a parameter of a method.

    Two underscores before it would make it private to the client's class.
    """
    return not (keyword.iskeyword(name) or name.startswith("__") or name in MESSAGE_NAMES)
