"""Functions that are served in another form than the one in which they are called.

A decorator between ``@app.model`` and a function can leave the function as it is for whoever calls
it, and say here what a server calls in its place: ``@torch_model`` does, whose functions take and
give tensors of torch, and arrays when they are served.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

F = TypeVar("F", bound=Callable[..., object])

_ATTRIBUTE: Final = "__blazerpc_served__"


@dataclass(frozen=True, slots=True)
class Served:
    """How a function is served.

    Attributes:
        form: gives what is called in its place, which has the same parameters and annotations of
            its own; called when the model is registered. Raises ``ValidationError``.
        check: called when the server starts; raises when the function cannot work there.
    """

    form: Callable[[], Callable[..., object]]
    check: Callable[[], None]


def serve_as(function: F, served: Served) -> F:
    """Say how ``function`` is served, and return it."""
    setattr(function, _ATTRIBUTE, served)
    return function


def served_as(target: object) -> Served | None:
    """Return what a function, a method or the class of a callable object says; None for nothing."""
    called = target if inspect.isroutine(target) else type(target).__call__
    served: Served | None = getattr(called, _ATTRIBUTE, None)
    return served


def served_form(target: Callable[..., object]) -> Callable[..., object]:
    """Return what a server calls in the place of a function, a method or a callable object.

    Raises:
        ValidationError: when its annotations have no served form.
    """
    served = served_as(target)
    if served is None:
        return target
    if inspect.ismethod(target):
        return partial(served.form(), target.__self__)
    return served.form() if inspect.isroutine(target) else partial(served.form(), target)
