"""Generated packages, written out and imported."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blazerpc_client.codegen import generate
from tests.unit.blazerpc_client.schemas import Model, spec_of

# A module is imported once: each package needs a name that no other test has used.
_numbers = itertools.count()


def write(directory: Path, files: Mapping[str, bytes]) -> None:
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)


def import_package(directory: Path, files: Mapping[str, bytes]) -> Any:
    """Write ``files`` as a package into ``directory``, and return it imported."""
    name = f"generated_client_{next(_numbers)}"
    write(directory / name, files)
    sys.path.insert(0, str(directory))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(directory))


def import_client(directory: Path, *models: Model) -> Any:
    """Return a client package for ``models``."""
    schema, spec = spec_of(*models)
    return import_package(directory, generate(schema, [spec]))
