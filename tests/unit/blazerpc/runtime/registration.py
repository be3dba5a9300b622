"""Functions that are registered, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from blazerpc import ValidationError
from blazerpc.runtime import ModelInfo, ModelRegistry


def score(text: str) -> float:
    """Score a text.

    Higher is better.
    """
    return float(len(text))


def register(
    func: Callable[..., object],
    name: str = "my-model",
    version: str = "1",
    streaming: bool = False,
) -> ModelInfo:
    registry = ModelRegistry()
    registry.register(name, version, func, streaming)
    return registry.get(name, version)


def refused(func: Any, **options: Any) -> ValidationError:
    """Return the error of such a registration; it names the model, and leaves nothing behind."""
    registry = ModelRegistry()
    name = options.pop("name", "my-model")
    with pytest.raises(ValidationError) as caught:
        registry.register(name, options.pop("version", "1"), func, **options)
    assert str(caught.value).startswith(f"model {name!r}")
    assert registry.list_models() == []
    return caught.value


def taking(*names: str) -> Callable[..., object]:
    """Return a model with parameters of these names."""
    parameters = dict.fromkeys(names, int)
    namespace: dict[str, Any] = {}
    exec(f"def model({', '.join(parameters)}): return 0", namespace)
    function: Callable[..., object] = namespace["model"]
    function.__annotations__ = {**parameters, "return": int}
    return function
