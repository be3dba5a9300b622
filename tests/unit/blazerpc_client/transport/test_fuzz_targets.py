"""The fuzzer's targets hold without its guidance, too."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_holds(target: Callable[[bytes], None]) -> None:
    for seed in range(1500):
        random = Random(seed)
        data = random.randbytes(random.choice([50, 500, 1500]))
        try:
            target(data)
        except Exception as error:
            raise AssertionError(f"with seed {seed}: {data!r}") from error
