"""Text, word by word, from a Markov chain trained on texts that ship with scikit-learn."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from importlib import resources


class Markov:
    """Which words follow which pair of words in scikit-learn's descriptions of its datasets."""

    def __init__(self) -> None:
        words = [
            word
            for file in sorted(resources.files("sklearn.datasets.descr").iterdir(), key=str)
            if file.name.endswith(".rst")
            for word in file.read_text(encoding="utf-8").split()
            if word.strip(".,;()").isalpha()
        ]
        self._followers: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for first, second, third in zip(words, words[1:], words[2:], strict=False):
            self._followers[first, second].append(third)
        self._pairs = list(self._followers)

    def tokens(self, prompt: str, count: int, seed: int) -> Iterator[str]:
        """Yield ``count`` words that go on where ``prompt`` ends; equal seeds give equal words."""
        choice = random.Random(seed)  # reproducible on purpose, and nothing secret
        pair = self._start(prompt, choice)
        for _ in range(count):
            if pair not in self._followers:
                pair = choice.choice(self._pairs)
            word = choice.choice(self._followers[pair])
            yield word
            pair = (pair[1], word)

    def _start(self, prompt: str, choice: random.Random) -> tuple[str, str]:
        """Return the prompt's last two words, or a known pair that ends as it does."""
        words = prompt.split()
        if len(words) >= 2 and (words[-2], words[-1]) in self._followers:
            return words[-2], words[-1]
        known = [pair for pair in self._pairs if words and pair[1] == words[-1]]
        return choice.choice(known or self._pairs)
