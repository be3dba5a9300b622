"""Three real models behind one server: `blaze serve examples.app:app`."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from blazerpc import BlazeApp, TensorInput, TensorOutput
from examples.digits import Digits
from examples.markov import Markov
from examples.sentiment import Sentiment

app = BlazeApp("examples")

sentiment = Sentiment()
digits = Digits()
markov = Markov()


@app.model("sentiment")
def predict_sentiment(text: str) -> float:
    """Score the sentiment of an English text.

    From -1 (negative) to 1 (positive), by the VADER lexicon.
    """
    return sentiment.score(text)


@app.model("digits")
def predict_digits(
    x: TensorInput[np.float32, "batch", 64],
) -> TensorOutput[np.float64, "batch", 10]:
    """Classify 8x8 images of handwritten digits.

    Pixels run from 0 (white) to 16 (black), row by row; the result is each digit's probability.
    """
    return digits.probabilities(x)


@app.model("tokens")
def predict_tokens(prompt: str, count: int, seed: int) -> Iterator[str]:
    """Stream words that go on where the prompt ends; equal seeds give equal words."""
    return markov.tokens(prompt, count, seed)
