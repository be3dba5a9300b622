"""Runs a target under atheris: ``python -m tests.fuzz TARGET [options of libFuzzer]``.

Without a target, prints those that there are.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["blazerpc_client.transport"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    if len(sys.argv) == 1:
        print(*TARGETS)
        return
    name, *options = sys.argv[1:]
    atheris.Setup([name, *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
