"""Handwritten digits: a classifier trained on scikit-learn's bundled 8x8 images."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split


class Digits:
    """A random forest, trained when it is made; a quarter of the images is held out.

    Attributes:
        images: those held out, float32 of shape (images, 64), pixels from 0 to 16.
        labels: what they show, int64 of shape (images,).
    """

    def __init__(self) -> None:
        data: Any = load_digits()
        images: npt.NDArray[np.float32] = data.data.astype(np.float32)
        labels: npt.NDArray[np.int64] = data.target.astype(np.int64)
        split = train_test_split(images, labels, random_state=0, stratify=labels)
        train_images, self.images, train_labels, self.labels = split
        self._forest = RandomForestClassifier(random_state=0).fit(train_images, train_labels)

    def probabilities(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return each digit's probability, shape (images, 10), for images of shape (images, 64)."""
        if len(images) == 0:  # scikit-learn refuses to predict nothing
            return np.empty((0, 10))
        return np.asarray(self._forest.predict_proba(images), dtype=np.float64)

    def accuracy(self, probabilities: npt.NDArray[np.float64]) -> float:
        """Return the share of the held-out images that ``probabilities`` classifies rightly."""
        return float(np.mean(probabilities.argmax(axis=1) == self.labels))
