"""Limits on the command line: ``--limit NAME=VALUE``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import get_type_hints

from blazerpc.exceptions import ConfigurationError
from blazerpc_client.transport.limits import DEFAULT, Limits, Pace

_TYPES = get_type_hints(Limits)


def with_limits(texts: Iterable[str], limits: Limits = DEFAULT) -> Limits:
    """Return ``limits`` with what the texts say: ``idle_timeout=300``, ``resets=1000/100``.

    Raises:
        ConfigurationError: for a limit that there is not, or a value that it cannot have.
    """
    changes: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--limit {text}: it has the form NAME=VALUE")
        if name not in _TYPES:
            raise ConfigurationError(f"--limit {name}: there are: {', '.join(_TYPES)}")
        try:
            changes[name] = _value(_TYPES[name], value)
        except ValueError:
            raise ConfigurationError(f"--limit {text}: {_form(_TYPES[name])}") from None
    try:
        return dataclasses.replace(limits, **changes)  # type: ignore[arg-type]  # of their own types
    except ValueError as error:
        raise ConfigurationError(f"--limit {error}") from None


def _value(kind: object, text: str) -> object:
    if kind is Pace:
        burst, _, per_second = text.partition("/")
        return Pace(int(burst), float(per_second))
    if text == "none" and kind not in (int, float):
        return None
    return int(text) if kind in (int, int | None) else float(text)


def _form(kind: object) -> str:
    if kind is Pace:
        return "it has the form BURST/PER_SECOND, as in 1000/100"
    number = "a whole number" if kind in (int, int | None) else "a number"
    return f"it takes {number}" if kind in (int, float) else f"it takes {number}, or none"
