"""Models of PyTorch: tensors in the function, arrays for everybody else.

    @app.model("digits")
    @torch_model(device="auto")
    def digits(
        x: Annotated[torch.Tensor, Tensor("batch", 64, dtype=np.float32)],
    ) -> Annotated[torch.Tensor, Tensor("batch", 10, dtype=np.float32)]:
        return network(x)

Annotated so, the function is to a type checker what it is: it takes and gives tensors, for its body
and for those who call it in Python. Its schema and its clients have arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, TypeVar, overload

import numpy as np
import numpy.typing as npt

from blazerpc.contrib.bridge import Bridge, bridged
from blazerpc.contrib.missing import missing
from blazerpc.exceptions import ConfigurationError, SerializationError
from blazerpc_client.wire.dtypes import numpy_name

try:
    import torch
    from torch.utils.dlpack import from_dlpack
except ModuleNotFoundError as _error:
    raise missing(_error, "PyTorch", "pytorch") from _error

__all__ = ["numpy_to_torch", "torch_device", "torch_model", "torch_to_numpy"]

F = TypeVar("F", bound=Callable[..., object])

#: The dtype of NumPy's own that holds the bits of a bfloat16, in both libraries.
_BITS: Final = np.dtype(np.int16)

#: Bytes, up to which CUDA copies from any memory without blocking; pinning would cost more.
#: https://docs.nvidia.com/cuda/cuda-runtime-api/api-sync-behavior.html, "Memcpy"
_PINNED_FROM: Final = 64 << 10


@overload
def torch_model(
    target: None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    inference_mode: bool = True,
) -> Callable[[F], F]: ...
@overload
def torch_model(
    target: F,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    inference_mode: bool = True,
) -> F: ...
def torch_model(
    target: F | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    inference_mode: bool = True,
) -> F | Callable[[F], F]:
    """Give a function tensors for its array parameters, and a server arrays for its results.

    It goes between ``@app.model`` and a function of any kind, a method, or a class with
    ``__call__``. Tensors in lists and dicts are converted, in dataclasses they are not. Whoever
    calls the function in Python may give arrays or tensors, and gets what its result is annotated
    as: tensors for ``torch.Tensor``, else arrays.

    Args:
        target: what is decorated, when it is without parentheses.
        device: that the tensors are on; "auto" is the best that the machine has. A device that is
            not there is an error when the server starts, not when the module is imported.
        dtype: that floating-point arrays get; their own, when it is None. Results come back in the
            dtype of their annotation.
        inference_mode: whether the function runs in ``torch.inference_mode()``.

    Raises:
        ConfigurationError: for what is no device.
    """
    bridge = _Torch(device, dtype, inference_mode)
    if target is None:
        return lambda function: bridged(function, bridge)
    return bridged(target, bridge)


def torch_device(device: str | torch.device = "auto") -> torch.device:
    """Return a device: CUDA's, else Apple's, else the CPU for "auto".

    Raises:
        ConfigurationError: for what is no device, or is not on this machine.
    """
    if device == "auto":
        here = [name for name in ("cuda", "mps") if _is_here(torch.device(name))]
        return torch.device(here[0] if here else "cpu")
    found = _parsed(device)
    if not _is_here(found):
        raise ConfigurationError(f"device {device!s} is not on this machine; device='auto' is")
    return found


def numpy_to_torch(
    array: npt.NDArray[Any],
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> torch.Tensor:
    """Return an array as a tensor.

    On the CPU they share memory, if the array is contiguous and of the machine's byte order. A
    read-only array must not be written to by way of its tensor: clone that first. To CUDA it goes
    by pinned memory, unless it is small, and the copy does not block.

    Args:
        array: of numbers or booleans, bfloat16 of ml_dtypes included.
        device: of the tensor, as ``torch_device`` has it.
        dtype: of the tensor; that of the array when it is None.

    Raises:
        TypeError: when it is no array.
        SerializationError: for a dtype that torch has not.
        ConfigurationError: for a device that is not on this machine.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected an array, got {type(array).__name__}")
    target = torch_device(device)
    tensor = _shared(array)
    if target.type == "cuda" and tensor.nbytes > _PINNED_FROM:
        # Only from pinned memory does a copy run beside the computation; torch keeps the pinned
        # memory until the copy is done.
        tensor = tensor.pin_memory()
    return tensor.to(target, dtype, non_blocking=target.type == "cuda")


def torch_to_numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a tensor as an array, from any device; on the CPU they share memory.

    Raises:
        TypeError: when it is no tensor.
        SerializationError: for a dtype that NumPy has not; for bfloat16 without ml_dtypes.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"expected a torch.Tensor, got {type(tensor).__name__}")
    plain = tensor.detach()
    if plain.is_quantized:
        plain = plain.dequantize()
    if plain.layout is not torch.strided:
        plain = plain.to_dense()
    plain = _on_cpu(plain).resolve_conj().resolve_neg()
    if plain.dtype is torch.bfloat16:
        bits: npt.NDArray[Any] = plain.view(torch.int16).numpy()
        return bits.view(_bfloat16())
    try:
        array: npt.NDArray[Any] = plain.numpy()
    except TypeError:
        raise SerializationError(
            f"NumPy has no dtype for {plain.dtype}; return tensor.float()", dtype=str(plain.dtype)
        ) from None
    return array


class _Torch(Bridge):
    """Between arrays and torch's tensors."""

    def __init__(
        self, device: str | torch.device, dtype: torch.dtype | None, inference_mode: bool
    ) -> None:
        super().__init__(torch.Tensor)
        if device != "auto":
            _parsed(device)
        self._device = device
        self._dtype = dtype
        self._inference_mode = inference_mode

    def load(self, value: object) -> object:
        if isinstance(value, np.ndarray) and value.dtype.kind not in "US":  # torch has no text
            value = numpy_to_torch(value, self._device)
        if not isinstance(value, torch.Tensor):
            return value
        floating = value.is_floating_point()
        return value.to(torch_device(self._device), self._dtype if floating else None)

    def dump(self, value: object, dtype: np.dtype[Any] | None) -> object:
        if not isinstance(value, torch.Tensor):
            return value
        if self._dtype is not None and value.dtype is self._dtype and dtype is not None:
            value = value.to(_torch_dtype(dtype))
        return torch_to_numpy(value)

    def scope(self) -> AbstractContextManager[object]:
        return torch.inference_mode() if self._inference_mode else nullcontext()

    def check(self) -> None:
        torch_device(self._device)


def _parsed(device: str | torch.device) -> torch.device:
    try:
        return torch.device(device)
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"{device!r} is no device of torch: {reason}") from None


def _is_here(device: torch.device) -> bool:
    match device.type:
        case "cpu":
            return True
        case "cuda":
            return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
        case "mps":
            return torch.backends.mps.is_available()
        case _:  # a plug-in of torch's: it says itself whether it works
            return True


def _shared(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor on the CPU, sharing its memory where torch can."""
    if array.dtype.name == "bfloat16":
        return _shared(array.view(_BITS)).view(torch.bfloat16)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    # Before DLPack, which ends the whole process for a negative stride (torch 2.13).
    native = np.ascontiguousarray(native).reshape(native.shape)
    if native.nbytes <= 1 and not native.flags.writeable:
        native = native.copy()  # CPython shares the bytes objects of one byte and of none
    try:
        if native.flags.writeable:
            return torch.from_numpy(native)
        # from_numpy warns of read-only arrays, which all arrays from a request are.
        return _from_dlpack(native)
    except TypeError:
        name = numpy_name(array.dtype)
        raise SerializationError(f"torch has no dtype for {name}", dtype=name) from None


def _from_dlpack(array: npt.NDArray[Any]) -> torch.Tensor:
    try:
        return from_dlpack(array)
    except BufferError:  # a NumPy or torch whose DLPack knows no read-only arrays
        return torch.from_numpy(array.copy())


def _on_cpu(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.device.type != "cuda":
        return tensor.cpu()
    pinned = torch.empty_like(tensor, device="cpu", pin_memory=True)
    return pinned.copy_(tensor)


def _bfloat16() -> np.dtype[Any]:
    try:
        import ml_dtypes
    except ModuleNotFoundError:
        raise SerializationError(
            "bfloat16 arrays need ml_dtypes; pip install ml_dtypes, or return tensor.float()",
            dtype="bfloat16",
        ) from None
    dtype: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _torch_dtype(dtype: np.dtype[Any]) -> torch.dtype:
    return _shared(np.empty(0, dtype)).dtype
