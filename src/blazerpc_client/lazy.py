"""Public names that are imported when they are first used (PEP 562).

A package imports its parts for type checkers alone, and says here where they are: ``blaze health``
starts every few seconds beside a server, and needs neither NumPy nor the server's code.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy_names(package: str, parts: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """Return the ``__getattr__`` of a package.

    Args:
        package: its ``__name__``.
        parts: the names that it has from each of its modules. The modules are attributes too, as
            they are of a package that has imported them.
    """
    module_of = {name: module for module, names in parts.items() for name in names}

    def find(name: str) -> object:
        if name in parts:
            return importlib.import_module(f"{package}.{name}")
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # found there from now on
        return value

    return find
