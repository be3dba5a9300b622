from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from blazerpc.supervisor.reload import described, source_changes
from tests.unit.blazerpc.support import PATIENCE

HERE = Path("/here")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["app.py"], "app.py changed"),
        (["b.py", "a/c.py"], "a/c.py, b.py changed"),
        (["1.py", "2.py", "3.py"], "1.py, 2.py, 3.py changed"),
        (["1.py", "2.py", "3.py", "4.py", "5.py"], "1.py, 2.py, 3.py and 2 more changed"),
    ],
)
def test_what_changed_is_one_line(names: list[str], told: str) -> None:
    assert described(HERE, {HERE / name for name in names}) == told


async def first_told(changes: AsyncIterator[str], act: Callable[[], object]) -> str:
    """Return what is told once something is done, which is when the watch has begun."""
    async with asyncio.timeout(PATIENCE):
        told = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)  # it begins at its first step
        act()
        return await told


async def test_sources_and_the_lock_are_told_and_all_else_is_passed_over(tmp_path: Path) -> None:
    sources = [tmp_path / "deep" / "app.py", tmp_path / "my.lock"]
    others = [
        tmp_path / name
        for name in ("data.csv", "env/lib/site-packages/x.py", "__pycache__/app.py", ".git/x.py")
    ]
    for path in [*sources, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    changes = source_changes(tmp_path, tmp_path / "my.lock")

    def write() -> None:
        for path in [*others, *sources]:
            path.write_text("new")

    told = await first_told(changes, write)
    assert told == "deep/app.py, my.lock changed"
