from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, assert_type

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import torch
from jaxtyping import Float32

from blazerpc import (
    BlazeApp,
    BlazeClient,
    ConfigurationError,
    Context,
    SerializationError,
    StartupError,
    Tensor,
    TensorInput,
    TensorOutput,
    ValidationError,
)
from blazerpc.contrib import numpy_to_torch, torch_device, torch_model, torch_to_numpy
from blazerpc_client import Internal, InvalidArgument
from tests.unit.blazerpc.support import client_of, define, serving

Row4 = Annotated[torch.Tensor, Tensor("batch", 4, dtype=np.float32)]
OneRow = Annotated[torch.Tensor, Tensor(1, 4, dtype=np.float32)]
ROWS = np.arange(8, dtype=np.float32).reshape(2, 4)

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device, or a torch that is built without CUDA"
)

DTYPES = [
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
    np.complex64,
    np.complex128,
    ml_dtypes.bfloat16,
]


def received(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return an array as one of a request is: a read-only view of bytes."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def assert_kind(value: object, kind: type) -> None:
    """Assert what a type checker does not believe: annotated with arrays, the body has tensors."""
    assert isinstance(value, kind)


async def predicted(client: BlazeClient, model: str, **arrays: object) -> npt.NDArray[Any]:
    result = await client.predict(model, **arrays)
    assert isinstance(result, np.ndarray)
    return result


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


@needs_cuda
async def test_a_model_is_served_on_cuda() -> None:
    app = BlazeApp()

    @app.model("m")
    @torch_model(device="auto", dtype=torch.bfloat16)
    def model(x: Row4) -> Row4:
        assert x.is_cuda
        return x * 2

    async with serving(app) as run, client_of(app, run) as client:
        np.testing.assert_array_equal(await predicted(client, "m", x=ROWS), ROWS * 2)


def test_called_in_python_a_function_gives_what_its_annotation_says() -> None:
    @torch_model
    def of_tensors(x: Row4) -> Row4:
        return x + 1

    @torch_model(device="cpu")
    def of_arrays(
        x: TensorInput[np.float32, "batch", 4],
    ) -> TensorOutput[np.float32, "batch", 4]:
        assert_kind(x, torch.Tensor)
        return x + 1

    @torch_model
    def of_text(text: str) -> Row4:
        return torch.full((len(text), 4), 1.0)

    tensor = of_tensors(torch.ones(1, 4))
    assert_type(tensor, torch.Tensor)
    assert isinstance(tensor, torch.Tensor)
    assert isinstance(of_text("ab"), torch.Tensor)
    array = of_arrays(ROWS)
    assert_type(array, npt.NDArray[np.float32])
    np.testing.assert_array_equal(array, ROWS + 1)
    unannotated: Any = torch_model(define("def model(x): return {'y': [x + 1, (x, 'a')]}"))
    result = unannotated(ROWS)
    np.testing.assert_array_equal(result["y"][0], ROWS + 1)
    np.testing.assert_array_equal(result["y"][1][0], ROWS)


async def test_functions_of_every_kind_are_served() -> None:
    app = BlazeApp()

    @app.model("plain")
    @torch_model
    def plain(x: Row4, factor: float = 2.0) -> Row4:
        assert torch.is_inference_mode_enabled()
        return x * factor

    @app.model("async", enable_batching=False)
    @torch_model
    async def coroutine(x: Row4, ctx: Context) -> Annotated[Row4, "of the caller"]:
        assert ctx.method.endswith("PredictAsync")
        assert torch.is_inference_mode_enabled()
        await asyncio.sleep(0)
        assert torch.is_inference_mode_enabled()
        return x * 3

    @app.model("stream")
    @torch_model
    def stream(x: Row4) -> Iterator[OneRow]:
        for row in x:
            assert torch.is_inference_mode_enabled()
            yield row[None]

    @app.model("async-stream")
    @torch_model
    async def async_stream(x: Row4) -> AsyncIterator[OneRow]:
        for row in x:
            await asyncio.sleep(0)
            assert torch.is_inference_mode_enabled()
            yield row[None] * 2

    @app.model("iterator")
    @torch_model
    def iterator(x: Row4) -> Iterator[OneRow]:
        return (row[None] for row in x)

    @app.model("batch", batch=True)
    @torch_model
    def batch(x: list[Float32[torch.Tensor, "n"]], tag: list[str | None]) -> list[Row4]:
        return [one.sum().expand(1, 4) for one in x]

    @app.model("class")
    @torch_model
    class Doubled:
        def __init__(self) -> None:
            self.factor = torch.tensor(2.0)

        def __call__(self, x: Row4) -> Row4:
            return x * self.factor

    @app.model("method")
    class Tripled:
        """Triple it."""

        @torch_model
        def __call__(self, x: Row4) -> Row4:
            return x * 3

    app.model("bound")(Tripled().__call__)
    app.model("object")(Tripled())

    async with serving(app) as run, client_of(app, run) as client:
        for model, factor in (
            ("plain", 2),
            ("async", 3),
            ("class", 2),
            ("method", 3),
            ("bound", 3),
            ("object", 3),
        ):
            np.testing.assert_array_equal(await predicted(client, model, x=ROWS), ROWS * factor)
        for model, factor in (("stream", 1), ("async-stream", 2), ("iterator", 1)):
            items: list[Any] = [item async for item in client.stream(model, x=ROWS)]
            np.testing.assert_array_equal(np.concatenate(items), ROWS * factor)
        assert (await predicted(client, "batch", x=ROWS[0], tag=None)).tolist() == [[6] * 4]
        with pytest.raises(InvalidArgument, match=r"expected shape \(batch, 4\), got \(4,\)"):
            await predicted(client, "plain", x=ROWS[0])
    assert app.registry.get("method").doc == "Triple it."
    assert str(app.registry.get("class").parameters["x"]) == "float32 (batch, 4)"


async def test_the_inference_mode_of_a_coroutine_is_left_while_it_waits() -> None:
    entered, proceed = asyncio.Event(), asyncio.Event()

    @torch_model
    async def waits(x: Row4) -> Row4:
        entered.set()
        await proceed.wait()
        return x

    call = asyncio.create_task(waits(torch.ones(1, 4)))
    await entered.wait()
    assert not torch.is_inference_mode_enabled()
    proceed.set()
    assert (await call).sum() == 4


async def test_a_cancellation_reaches_the_coroutine() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    @torch_model
    async def waits(x: Row4) -> Row4:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            assert torch.is_inference_mode_enabled()
            left.set()
        return x

    call = asyncio.create_task(waits(torch.ones(1, 4)))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert left.is_set()


async def test_a_stream_that_is_left_early_is_closed() -> None:
    closed = []

    @torch_model
    def endless(n: int) -> Iterator[Row4]:
        try:
            while True:
                yield torch.ones(n, 4)
        finally:
            closed.append("sync")

    @torch_model
    async def async_endless(n: int) -> AsyncIterator[Row4]:
        try:
            while True:
                yield torch.ones(n, 4)
        finally:
            closed.append("async")

    items: Any = endless(1)
    next(items)
    items.close()
    async_items: Any = async_endless(1)
    await anext(async_items)
    await async_items.aclose()
    assert closed == ["sync", "async"]


def test_gradients_can_be_had() -> None:
    @torch_model(inference_mode=False)
    def gradient(x: Row4) -> Row4:
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((leaf**2).sum(), leaf)
        return gradient

    assert torch.equal(gradient(torch.ones(1, 4)), torch.full((1, 4), 2.0))


async def test_a_model_computes_in_another_dtype_than_its_clients_see() -> None:
    app = BlazeApp()

    @app.model("m")
    @torch_model(dtype=torch.bfloat16)
    def model(x: Row4, index: TensorInput[np.int64, "batch"]) -> Row4:
        assert_kind(index, torch.Tensor)
        assert str(index.dtype) == "torch.int64"
        return x * 2

    @app.model("bits")
    @torch_model
    def bits(
        x: Annotated[torch.Tensor, Tensor("n", dtype=ml_dtypes.bfloat16)],
    ) -> Annotated[torch.Tensor, Tensor("n", dtype=ml_dtypes.bfloat16)]:
        assert x.dtype is torch.bfloat16
        return x + 1

    assert model(torch.ones(1, 4), np.zeros(1, np.int64)).dtype is torch.bfloat16
    async with serving(app) as run, client_of(app, run) as client:
        doubled = await predicted(client, "m", x=ROWS, index=np.zeros(2, np.int64))
        assert doubled.dtype == np.float32
        np.testing.assert_array_equal(doubled, ROWS * 2)
        one = await predicted(client, "bits", x=np.ones(3, ml_dtypes.bfloat16))
        assert one.dtype == ml_dtypes.bfloat16
        assert one.astype(int).tolist() == [2, 2, 2]


async def test_requests_are_batched_as_those_of_arrays() -> None:
    app = BlazeApp()
    sizes = []

    @app.model("m")
    @torch_model
    def model(x: Row4) -> Row4:
        sizes.append(len(x))
        return x

    async with serving(app) as run, client_of(app, run) as client:
        rows = await asyncio.gather(*[predicted(client, "m", x=ROWS + n) for n in range(8)])
    for n, row in enumerate(rows):
        np.testing.assert_array_equal(row, ROWS + n)
    assert sum(sizes) == 16
    assert len(sizes) < 8


async def test_a_result_of_another_dtype_than_annotated_is_a_failure() -> None:
    app = BlazeApp()

    @app.model("m")
    @torch_model
    def model(x: Row4) -> Row4:
        return x.double()

    async with serving(app) as run, client_of(app, run) as client:
        with pytest.raises(Internal):
            await predicted(client, "m", x=ROWS)


async def test_a_device_that_is_not_there_ends_the_start_and_not_the_import() -> None:
    app = BlazeApp()

    @app.model("m")
    @torch_model(device="cuda:99")
    def model(x: Row4) -> Row4:
        return x

    with pytest.raises(StartupError, match=r"model 'm': .*device cuda:99 is not on this machine"):
        async with serving(app):
            pass


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def model(x: torch.Tensor) -> float: ...",
            "parameter 'x': torch.Tensor without a dtype and shape; write Annotated",
        ),
        (
            "def model(x: int) -> Annotated[torch.Tensor, Tensor(4)]: ...",
            "result: torch.Tensor without a dtype and shape; write Annotated",
        ),
        ("class model: pass", "class model has no method __call__"),
    ],
)
def test_what_the_schema_cannot_be_made_of_is_refused(source: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BlazeApp().model("m")(torch_model(define("import torch\n" + source)))


def test_without_the_decorator_the_error_names_it() -> None:
    def model(x: Row4) -> float:
        return 1.0

    with pytest.raises(ValidationError, match="need its decorator: @torch_model"):
        BlazeApp().model("m")(model)


def test_a_dtype_that_contradicts_the_array_is_refused() -> None:
    def model(
        x: Annotated[npt.NDArray[np.float32], Tensor(4, dtype=np.float64)],
    ) -> float:
        return 1.0

    with pytest.raises(ValidationError, match="says another dtype than"):
        BlazeApp().model("m")(model)
