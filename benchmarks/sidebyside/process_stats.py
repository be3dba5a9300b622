"""What Linux tells of a process and its children: the time it ran, and the code it has loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: Seconds: the least time that is told from none.
TICK: Final = 1 / os.sysconf("SC_CLK_TCK")

_PROC: Final = Path("/proc")

# Fields of /proc/PID/stat by proc(5), counted from the one behind the name in brackets: group,
# then the time in ticks, user and system, of the process and of its children that have ended.
_GROUP: Final = 2
_TIMES: Final = slice(11, 15)


def cpu_seconds(group: int) -> float:
    """Return the CPU time of all processes of a group."""
    ticks = 0
    for path in _PROC.glob("[0-9]*/stat"):
        fields = _stat(path)
        if fields and int(fields[_GROUP]) == group:
            ticks += sum(map(int, fields[_TIMES]))
    return ticks * TICK


def has_loaded(pid: int, library: str) -> bool:
    """Return whether a library of that name is mapped into a process."""
    return library in (_PROC / str(pid) / "maps").read_text()


def _stat(path: Path) -> list[str]:
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []  # it ended meanwhile
