"""Sentiment of English text, by the VADER lexicon."""

from __future__ import annotations

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer


class Sentiment:
    """The lexicon, loaded once."""

    def __init__(self) -> None:
        self._analyzer = SentimentIntensityAnalyzer()

    def score(self, text: str) -> float:
        """Return VADER's compound score, from -1 (negative) to 1 (positive)."""
        return float(self._analyzer.polarity_scores(text)["compound"])
