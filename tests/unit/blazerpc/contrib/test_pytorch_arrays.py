"""Arrays and PyTorch's tensors, made of one another."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from blazerpc import ConfigurationError, SerializationError
from blazerpc.contrib import numpy_to_torch, torch_device, torch_model, torch_to_numpy
from tests.unit.blazerpc.contrib.arrays import DTYPES, ROWS
from tests.unit.blazerpc.contrib.cuda import needs_cuda
from tests.unit.blazerpc.support import define


def received(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as one of a request is: a read-only view of bytes."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 3), (0, 3), ()])
def test_arrays_go_to_torch_and_back(dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    back = torch_to_numpy(numpy_to_torch(array))
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_read_only_array_shares_its_memory_and_nobody_is_warned(dtype: type[np.generic]) -> None:
    array = received(np.arange(6).astype(dtype))
    tensor = numpy_to_torch(array)
    assert tensor.data_ptr() == array.ctypes.data
    np.testing.assert_array_equal(torch_to_numpy(tensor), array)


def test_a_writable_array_shares_its_memory() -> None:
    array = np.zeros(3, np.float32)
    numpy_to_torch(array).add_(1)
    assert array.tolist() == [1, 1, 1]


def test_one_byte_is_copied_since_python_shares_it_with_everybody() -> None:
    array = np.frombuffer(b"a", np.uint8)
    numpy_to_torch(array).add_(1)
    assert array.tolist() == [97]
    assert b"a"[0] == 97


@pytest.mark.parametrize(
    "array",
    [ROWS[::-1], ROWS[:, ::2], ROWS.T, ROWS.astype(">f4"), np.asfortranarray(ROWS)],
    ids=["negative stride", "stride", "transposed", "big-endian", "fortran"],
)
@pytest.mark.parametrize("writeable", [True, False])
def test_any_layout_of_an_array_is_taken(array: npt.NDArray[Any], writeable: bool) -> None:
    array = array.view()
    array.flags.writeable = writeable
    np.testing.assert_array_equal(torch_to_numpy(numpy_to_torch(array)), array)


def test_a_tensor_of_the_cpu_gives_its_memory() -> None:
    tensor = torch.ones(3)
    torch_to_numpy(tensor)[0] = 7
    assert tensor[0] == 7


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (torch.ones(2, requires_grad=True) * 2, [2, 2]),
        (torch.tensor([1 + 2j]).conj(), [1 - 2j]),
        (torch.tensor([1 + 2j]).conj().imag, [-2]),
        (torch.eye(2).to_sparse(), [[1, 0], [0, 1]]),
        (torch.ones(2, 3).T, [[1, 1]] * 3),
        (torch.ones(2, 3, dtype=torch.bfloat16).T, [[1, 1]] * 3),
    ],
    ids=["gradient", "conjugate", "negated", "sparse", "transposed", "bfloat16 transposed"],
)
def test_any_tensor_is_an_array(tensor: torch.Tensor, expected: list[Any]) -> None:
    assert torch_to_numpy(tensor).tolist() == expected


def test_dtype_is_that_of_the_tensor() -> None:
    assert numpy_to_torch(ROWS, dtype=torch.bfloat16).dtype is torch.bfloat16


def test_what_the_other_library_has_not_is_refused() -> None:
    with pytest.raises(SerializationError, match="torch has no dtype for str") as text:
        numpy_to_torch(np.array(["a"]))
    assert text.value.dtype == "str"
    with pytest.raises(SerializationError, match=r"NumPy has no dtype for torch\.float8") as small:
        torch_to_numpy(torch.zeros(1, dtype=torch.float8_e4m3fn))
    assert small.value.dtype == "torch.float8_e4m3fn"
    with pytest.raises(TypeError, match="expected an array, got list"):
        numpy_to_torch(define("def model(): return [1]")())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"expected a torch\.Tensor, got ndarray"):
        torch_to_numpy(define("def model(): return np.ones(1)")())  # type: ignore[arg-type]


def test_devices() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    best = torch_device()
    assert torch.ones(1, device=best).item() == 1
    with pytest.raises(ConfigurationError, match="'gpu' is no device of torch: "):
        torch_device("gpu")
    with pytest.raises(ConfigurationError, match="'gpu' is no device of torch: "):
        torch_model(device="gpu")
    with pytest.raises(ConfigurationError, match="device cuda:99 is not on this machine"):
        numpy_to_torch(ROWS, device="cuda:99")


@needs_cuda
def test_arrays_go_to_cuda_by_pinned_memory_and_back() -> None:
    for dtype, rows in itertools.product(DTYPES, (2, 100_000)):  # small ones go without it
        array = received(np.resize(np.arange(6), (rows, 3)).astype(dtype))
        tensor = numpy_to_torch(array, device="cuda")
        assert tensor.is_cuda
        back = torch_to_numpy(tensor)
        np.testing.assert_array_equal(back, array)
        assert numpy_to_torch(back).is_pinned()
        np.testing.assert_array_equal(torch_to_numpy(tensor.T), array.T)
