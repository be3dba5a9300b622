"""A network of Keras on handwritten digits, trained when the server starts."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

from blazerpc import BlazeApp, Tensor
from blazerpc.contrib import tf_model

app = BlazeApp()


@app.model("digits")
class Digits:
    def __init__(self) -> None:
        tf.keras.utils.set_random_seed(0)
        data: Any = load_digits()
        layers = [
            tf.keras.layers.Rescaling(1 / 16),
            tf.keras.layers.Dense(64, activation="relu"),
            tf.keras.layers.Dense(10, activation="softmax"),
        ]
        self.network: Any = tf.keras.Sequential(layers)
        self.network.compile("adam", "sparse_categorical_crossentropy")
        self.network.fit(data.data, data.target, epochs=10, verbose=0)

    @tf_model
    def __call__(
        self, x: Annotated[tf.Tensor, Tensor("batch", 64, dtype=np.float32)]
    ) -> Annotated[tf.Tensor, Tensor("batch", 10, dtype=np.float32)]:
        probabilities: tf.Tensor = self.network(x)
        return probabilities
