"""A graph of ONNX, served without a Python signature: `blaze serve examples.onnx_digits:app`.

`python -m examples.export_digits` writes the graph. Serving needs the extra `onnx`, and nothing of
what trained it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from blazerpc import BlazeApp

MODEL: Final = Path(__file__).with_name("digits.onnx")

app = BlazeApp("onnx-digits")

# One output is an array; its rows, and those of other requests, are computed in one go.
app.add_onnx("digits", MODEL, outputs=["probabilities"], max_batch_size=256)

# All outputs are a message, with a field for each.
app.add_onnx("labelled-digits", MODEL)
