"""An image file -> the array that a tensor declares, with Pillow."""

from __future__ import annotations

import io
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.tensors import TensorSpec

#: Pillow's modes by their number of channels: grey, colours, colours and opacity.
#: https://pillow.readthedocs.io/en/stable/handbook/concepts.html#modes
_MODES: Final[dict[object, str]] = {1: "L", 3: "RGB", 4: "RGBA"}

#: What these become where the number of channels is free.
_OWN: Final = {"1": "L", "P": "RGB", "LA": "RGBA", "PA": "RGBA", "CMYK": "RGB", "YCbCr": "RGB"}

#: Grey of more than 8 bits, which "L" would cut.
_DEEP: Final = ("I", "I;16", "F")


class _Layout(NamedTuple):
    """What the dimensions of a declared shape are to an image.

    Attributes:
        batched: whether the first one counts images.
        channels: the number of channels, or its name; None when no dimension is for them.
    """

    batched: bool
    channels: int | str | None


def read_image(data: bytes, spec: TensorSpec | None, where: str) -> npt.NDArray[Any]:
    """Return the pixels of an image, (height, width) or (height, width, channels).

    It is converted to the declared number of channels, and to the declared dtype where that has all
    its values, which stay what they are: 0 to 255, for most. Where images are declared in a batch,
    it is a batch of one.

    Raises:
        WireError: when Pillow is not installed, or reads no image.
    """
    try:
        from PIL import Image
    except ImportError:
        raise WireError(
            f"reading {where} as an image takes Pillow: pip install 'blazerpc[image]'"
        ) from None
    layout = _layout(spec.shape if spec is not None else ())
    try:
        with Image.open(io.BytesIO(data)) as image:
            mode = _MODES.get(layout.channels, _OWN.get(image.mode, image.mode))
            if layout.channels is None and spec is not None:
                mode = "L"
            deep = mode == "L" and image.mode in _DEEP
            array: npt.NDArray[Any] = np.asarray(image if deep else image.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise WireError(f"{where} is neither .npy nor .json, and no image that Pillow reads") from (
            None
        )
    if array.ndim == 2 and layout.channels is not None:
        array = array[..., np.newaxis]
    if layout.batched:
        array = array[np.newaxis]
    if spec is not None and np.can_cast(array.dtype, spec.dtype, "safe"):
        array = array.astype(spec.dtype)
    return array


def _layout(shape: tuple[int | str, ...]) -> _Layout:
    """Tell (height, width, channels) from (batch, height, width) by the number of channels."""
    match shape:
        case (_, _, int() as channels) if channels in _MODES:
            return _Layout(batched=False, channels=channels)
        case (_, _, channels) if not isinstance(shape[0], str):
            return _Layout(batched=False, channels=channels)
        case (_, _, _):
            return _Layout(batched=True, channels=None)
        case (_, _, _, channels):
            return _Layout(batched=True, channels=channels)
    return _Layout(batched=False, channels=None)
