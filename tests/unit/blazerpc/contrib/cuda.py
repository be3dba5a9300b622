"""Tests that need a GPU."""

from __future__ import annotations

import pytest
import torch

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device, or a torch that is built without CUDA"
)
