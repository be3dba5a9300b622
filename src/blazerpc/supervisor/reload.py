"""Which sources change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from blazerpc.exceptions import ConfigurationError

#: Names of changed files that are told, at most.
_TOLD: Final = 3


def source_changes(directory: Path, lock: Path | None = None) -> AsyncIterator[str]:
    """Watch the Python sources below ``directory``, and the lock file if it is there.

    Returns:
        What changed, in one line, whenever something has. What is installed, cached or of version
        control is passed over.

    Raises:
        ConfigurationError: when watchfiles is missing.
        OSError: from the iterator, when the system refuses to watch so much.
    """
    try:
        from watchfiles import Change, PythonFilter, awatch
    except ImportError:
        raise ConfigurationError(
            "--reload needs watchfiles; run: pip install 'blazerpc[reload]'"
        ) from None
    sources, locked = PythonFilter(), None if lock is None else lock.resolve()

    def wanted(change: Change, path: str) -> bool:
        installed = "site-packages" in Path(path).relative_to(directory).parts
        return Path(path) == locked or (sources(change, path) and not installed)

    async def changes() -> AsyncIterator[str]:
        async for changed in awatch(directory, watch_filter=wanted):
            yield described(directory, {Path(path) for _, path in changed})

    return changes()


def described(directory: Path, paths: set[Path]) -> str:
    """Return which files changed, in one line."""
    names = sorted(str(path.relative_to(directory)) for path in paths)
    others = len(names) - _TOLD
    told = ", ".join(names[:_TOLD])
    return f"{told} and {others} more changed" if others > 0 else f"{told} changed"
