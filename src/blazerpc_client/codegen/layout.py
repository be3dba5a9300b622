"""Lay Python source out as ``ruff format`` does with its defaults, for the few forms we emit."""

from __future__ import annotations

from collections.abc import Sequence

#: The default line length of ``ruff format``.
LINE_LENGTH = 88


def bracketed(head: str, items: Sequence[str], tail: str, *, indent: int = 0) -> str:
    """Return ``head`` + comma-separated ``items`` + ``tail``, on one line where that fits.

    Else one item a line, with the trailing comma that keeps a formatter from joining them again.
    """
    margin = " " * indent
    line = f"{margin}{head}{', '.join(items)}{tail}"
    if len(line) <= LINE_LENGTH:
        return line
    inner = f"{margin}    "
    if len(margin + head) > LINE_LENGTH and "[" in head:
        before, _, rest = head.partition("[")
        inside, _, after = rest.rpartition("]")
        head = f"{before}[\n{inner}{inside}\n{margin}]{after}"
    return "\n".join(
        [f"{margin}{head}", *(f"{_item(item, inner)}," for item in items), f"{margin}{tail}"]
    )


def _item(item: str, margin: str) -> str:
    """Return an item on a line of its own, or on two where its type has an end to break before."""
    line = f"{margin}{item}"
    return line if len(line) < LINE_LENGTH else line.replace(" | None", f"\n{margin}| None")


def docstring(text: str, *, indent: int) -> str:
    """Return ``text`` as a docstring, escaped and indented."""
    margin = " " * indent
    lines = [_escaped(line) for line in text.strip().splitlines()]
    if lines[0].startswith('"'):
        lines[0] = f" {lines[0]}"  # or it would be a fourth quote
    one_line = f'{margin}"""{lines[0]}"""'
    if len(lines) == 1 and len(one_line) <= LINE_LENGTH and not lines[0].endswith(("\\", '"')):
        return one_line
    body = [f"{margin}{line}" if line else "" for line in lines[1:]]
    return "\n".join([f'{margin}"""{lines[0]}', *body, f'{margin}"""'])


def _escaped(line: str) -> str:
    escaped = line.expandtabs(4).rstrip().replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in escaped)


def import_from(module: str, names: Sequence[str]) -> str:
    """Return a ``from module import names`` statement."""
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= LINE_LENGTH:
        return line
    return bracketed(f"from {module} import (", names, ")")
