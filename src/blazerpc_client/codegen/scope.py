"""The global names of one generated module: kept free of clashes, imports collected as used."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable

from blazerpc_client.codegen.layout import import_from


class Scope:
    """Global names of a module.

    Args:
        taken: names that mean something else there; whatever is imported avoids them.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = frozenset(taken)
        self._modules: dict[str, str] = {}
        self._members: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def builtin(self, name: str) -> str:
        """Return how the module refers to a builtin."""
        return f"{self.module('builtins')}.{name}" if name in self._taken else name

    def module(self, module: str, alias: str | None = None) -> str:
        """Return the name under which ``module`` is imported."""
        return self._modules.setdefault(module, self.free(alias or module))

    def member(self, module: str, name: str) -> str:
        """Return the name under which ``name`` is imported from ``module``."""
        return self._members[module].setdefault(name, self.free(name))

    def sibling(self, module: str, name: str) -> str:
        """Return ``name``, which is taken because it is imported from ``module``."""
        return self._members[module].setdefault(name, name)

    def free(self, name: str) -> str:
        """Return ``name``, with underscores added until it is not taken."""
        while name in self._taken:
            name += "_"
        return name

    def imports(self) -> str:
        """Return the import statements in isort's order: standard library, others, relative."""
        groups: defaultdict[int, list[str]] = defaultdict(list)
        for module, name in sorted(self._modules.items()):
            groups[_group(module)].append(f"import {module}" + _as(module, name))
        for module, members in sorted(self._members.items()):
            names = [member + _as(member, name) for member, name in sorted(members.items())]
            groups[_group(module)].append(import_from(module, names))
        return "\n\n".join("\n".join(groups[group]) for group in sorted(groups))


def _as(name: str, alias: str) -> str:
    return "" if name == alias else f" as {alias}"


def _group(module: str) -> int:
    if module.startswith("."):
        return 2
    return 0 if module.partition(".")[0] in sys.stdlib_module_names else 1
