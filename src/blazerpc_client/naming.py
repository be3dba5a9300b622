"""How names on the wire become names in Python: one rule for the generator and for the server."""

from __future__ import annotations

import keyword
import re
from typing import Final

from google.protobuf.message import Message

#: Names that protobuf's message classes have themselves, which a field would hide.
MESSAGE_NAMES: Final = frozenset(dir(Message)) | {"DESCRIPTOR", "FromString", "Extensions"}

#: Methods that every client has.
_CLIENT_NAMES: Final = frozenset({"close", "with_options"})

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def method_name(rpc: str) -> str:
    """Return the client's method name of an rpc: ``PredictMyModel`` gives ``predict_my_model``."""
    return _WORD_START.sub("_", rpc).lower()


def client_name(service: str) -> str:
    """Return the client class of a service: ``pkg.FooService`` and ``Foo`` give ``FooClient``."""
    return service.rpartition(".")[2].removesuffix("Service") + "Client"


def is_parameter_name(name: str) -> bool:
    """Return whether a field of that name can be a parameter of a method.

    Two underscores before it would make it private to the client's class.
    """
    return not (keyword.iskeyword(name) or name.startswith("__") or name in MESSAGE_NAMES)


def is_method_name(name: str) -> bool:
    """Return whether a client can have a method of that name beside its own."""
    return not (keyword.iskeyword(name) or name.startswith("_") or name in _CLIENT_NAMES)
