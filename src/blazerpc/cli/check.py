"""``blaze client check``: whether a generated client still fits its server."""

from __future__ import annotations

import json
from pathlib import Path

from blazerpc.cli.client import OPEN, PACKAGED, Access, read_schema
from blazerpc.exceptions import ConfigurationError
from blazerpc_client.compare import Change, Verdict, compare
from blazerpc_client.wire.errors import WireError


async def check_client(
    source: str, package: Path, lock: Path | None = None, access: Access = OPEN
) -> list[Change]:
    """Return how the schema at ``source`` differs from the one that ``package`` was made from.

    Raises:
        ConfigurationError: when one of them is none, or cannot be read.
        RpcError: when the server cannot be read.
    """
    file = package if package.suffix == ".binpb" else package / PACKAGED
    if not file.is_file():
        raise ConfigurationError(f"{package} is no generated client: there is no {file}")
    try:
        old = await read_schema(str(file))
        new = await read_schema(source, lock=lock, known=old.services, access=access)
        return compare(old, new)
    except WireError as error:
        raise ConfigurationError(f"cannot compare: {error}") from None


def verdict_of(changes: list[Change]) -> str:
    """Return ``same``, ``compatible`` or ``breaking``."""
    if not changes:
        return "same"
    breaking = any(change.verdict is Verdict.BREAKING for change in changes)
    return str(Verdict.BREAKING if breaking else Verdict.COMPATIBLE)


def as_json(changes: list[Change]) -> str:
    """Return the changes for other programs to read."""
    found = [{"verdict": c.verdict, "where": c.where, "what": c.what} for c in changes]
    return json.dumps({"verdict": verdict_of(changes), "changes": found}, ensure_ascii=False)
