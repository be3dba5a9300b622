"""Regenerate the committed clients in stubs/, or check that they are what they would become."""

from __future__ import annotations

import asyncio
import filecmp
import sys
import tempfile
from pathlib import Path

from blazerpc.cli.client import generate_client

STUBS = Path(__file__).parent.parent / "stubs"

#: App to the package of its client.
APPS = {"examples.app:app": "inference_client", "tests.apps.rows:app": "rows_client"}


def main(arguments: list[str]) -> int:
    """Write the clients, or with ``--check`` compare them; return 1 when one differs."""
    if arguments != ["--check"]:
        _generate(STUBS)
        return 0
    with tempfile.TemporaryDirectory() as directory:
        _generate(Path(directory))
        differing = [name for package in APPS.values() for name in _differing(directory, package)]
    for name in differing:
        print(f"stubs/{name} is not what its app gives; run `make stubs`", file=sys.stderr)
    return 1 if differing else 0


def _generate(directory: Path) -> None:
    for app, package in APPS.items():
        asyncio.run(generate_client(app, directory, package, ()))


def _differing(directory: str, package: str) -> list[str]:
    fresh, committed = Path(directory, package), STUBS / package
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*.*")}
    _, different, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
    return [f"{package}/{name}" for name in (*different, *missing)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
