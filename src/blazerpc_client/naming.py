"""How names on the wire become names in Python: one rule for the generator and for the server."""

from __future__ import annotations

import re

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def method_name(rpc: str) -> str:
    """Return the client's method name of an rpc: ``PredictMyModel`` gives ``predict_my_model``."""
    return _WORD_START.sub("_", rpc).lower()


def client_name(service: str) -> str:
    """Return the client class of a service: ``pkg.FooService`` and ``Foo`` give ``FooClient``."""
    return service.rpartition(".")[2].removesuffix("Service") + "Client"
