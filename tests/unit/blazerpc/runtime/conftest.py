"""Executors that end with their test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from blazerpc.runtime import ModelExecutor, ModelRegistry
from tests.unit.blazerpc.runtime.executors import Execute


@pytest.fixture
async def executor_of() -> AsyncIterator[Execute]:
    """Make executors that end with the test."""
    made: list[ModelExecutor] = []

    def make(func: Callable[..., object], streaming: bool = False) -> ModelExecutor:
        registry = ModelRegistry()
        registry.register("my-model", "1", func, streaming)
        made.append(ModelExecutor(registry.get("my-model")))
        return made[-1]

    yield make
    for executor in made:
        await executor.close()
