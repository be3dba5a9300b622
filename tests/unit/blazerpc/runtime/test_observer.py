from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from blazerpc import BlazeApp
from blazerpc.runtime import Begun, Dropped, ModelInfo, ModelObserver
from blazerpc.runtime.observer import observer_of


class Noting(ModelObserver):
    def __init__(self, name: str, seen: list[str]) -> None:
        self._name = name
        self._seen = seen

    def queue_changed(self, by: int) -> None:
        self._seen.append(f"{self._name} queue {by}")

    def dropped(self, reason: Dropped) -> None:
        self._seen.append(f"{self._name} dropped {reason}")

    @contextmanager
    def running(self, requests: Sequence[Begun], rows: int) -> Iterator[None]:
        self._seen.append(f"{self._name} begins {rows}")
        try:
            yield
        finally:
            self._seen.append(f"{self._name} ends")


@pytest.fixture
def model() -> ModelInfo:
    app = BlazeApp()

    @app.model("echo")
    def echo(text: str) -> str:
        return text

    return app.registry.get("echo", "1")


def test_none_is_none(model: ModelInfo) -> None:
    assert observer_of(model, []) is None
    assert observer_of(model, [lambda _: None]) is None


def test_one_is_itself(model: ModelInfo) -> None:
    one = Noting("a", [])
    assert observer_of(model, [lambda _: None, lambda _: one]) is one


def test_each_of_several_is_told_the_first_around_the_others(model: ModelInfo) -> None:
    seen: list[str] = []
    both = observer_of(model, [lambda _: Noting("a", seen), lambda _: Noting("b", seen)])
    assert both is not None
    both.queue_changed(1)
    both.dropped(Dropped.DEADLINE)
    with (
        pytest.raises(LookupError),
        both.running([Begun(0.0, contextvars.copy_context())], 3),
    ):
        raise LookupError
    assert seen == [
        "a queue 1",
        "b queue 1",
        "a dropped deadline",
        "b dropped deadline",
        "a begins 3",
        "b begins 3",
        "b ends",
        "a ends",
    ]


def test_one_that_overrides_nothing_observes_nothing() -> None:
    observer = ModelObserver()
    observer.queue_changed(1)
    observer.dropped(Dropped.CANCELLED)
    with observer.running([], 0):
        pass
