"""Put a generated package on disk: whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from blazerpc_client.codegen.generate import MARKER


class NotOursError(Exception):
    """The target holds something that this generator did not write."""


def write_package(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` as the package ``directory``, in place of an earlier one.

    A package is replaced only when all in it was generated. It is made beside its place and moved
    there, so that a failure leaves what was there before.

    Raises:
        NotOursError: when the target holds a file that was not generated; nothing is written.
        OSError: when the file system refuses.
    """
    check_target(directory, files)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as scratch:
        fresh, old = Path(scratch, "fresh"), Path(scratch, "old")
        fresh.mkdir()
        for name, data in files.items():
            (fresh / name).write_bytes(data)
        if directory.exists():
            os.replace(directory, old)
        try:
            os.replace(fresh, directory)
        except OSError:
            if old.exists():
                os.replace(old, directory)
            raise


def check_target(directory: Path, files: Mapping[str, bytes]) -> None:
    """Raise ``NotOursError`` unless ``directory`` is absent, empty, or wholly generated."""
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir() or directory.is_symlink():
        raise NotOursError(f"{directory} is there and is no directory")
    present = {entry.name for entry in directory.iterdir()} - {"__pycache__"}
    if not present:
        return
    init = directory / "__init__.py"
    generated = init.is_file() and init.read_text(errors="replace").startswith(MARKER)
    foreign = sorted(present - set(files)) if generated else sorted(present)
    if foreign:
        raise NotOursError(f"{directory} holds {foreign[0]}, which was not generated")
