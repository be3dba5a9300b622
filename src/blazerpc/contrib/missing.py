"""What is said when a framework is not installed."""

from __future__ import annotations


def missing(error: ModuleNotFoundError, framework: str, extra: str) -> ModuleNotFoundError:
    """Return the error that says how to get a framework.

    Args:
        error: of its import.
        framework: its name, for people.
        extra: of this package, which installs it.
    """
    return ModuleNotFoundError(
        f"{framework} is not installed ({error}); pip install 'blazerpc[{extra}]'",
        name=error.name,
    )
