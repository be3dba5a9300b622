"""A convolutional network on handwritten digits: `blaze serve examples.torch_digits:app`.

Needs the extras `pytorch` and `sklearn`. It is trained when the server starts, which takes seconds.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from blazerpc import BlazeApp, Tensor
from blazerpc.contrib import torch_device, torch_model

Images = Annotated[torch.Tensor, Tensor("batch", 8, 8, dtype=np.float32)]
Probabilities = Annotated[torch.Tensor, Tensor("batch", 10, dtype=np.float32)]

app = BlazeApp("torch-digits")


@app.model("digits", max_batch_size=256)
class Digits:
    """A network that is trained when it is made; a quarter of the images is held out."""

    def __init__(self) -> None:
        # Threads that wait for each other cost more than a network of this size has to compute.
        torch.set_num_threads(1)
        device = torch_device("auto")
        data: Any = load_digits()
        images = data.images.astype(np.float32)
        split = train_test_split(images, data.target, random_state=0, stratify=data.target)
        train_images, _, train_labels, _ = split
        self._network = trained(
            torch.from_numpy(train_images).to(device), torch.from_numpy(train_labels).to(device)
        )

    def warmup(self) -> None:
        """Run it once, before anybody waits for it."""
        self(torch.zeros(1, 8, 8))

    @torch_model(device="auto")
    def __call__(self, images: Images) -> Probabilities:
        """Classify 8x8 images of handwritten digits.

        Pixels run from 0 (white) to 16 (black); the result is each digit's probability.
        """
        probabilities: torch.Tensor = self._network(images[:, None]).softmax(1)
        return probabilities


def trained(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Return a network that was trained on images of shape (images, 8, 8)."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.BatchNorm2d(1),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    ).to(images.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(5):
        for batch in torch.randperm(len(images)).chunk(20):
            loss = nn.functional.cross_entropy(network(images[batch, None]), labels[batch])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return network.eval()
