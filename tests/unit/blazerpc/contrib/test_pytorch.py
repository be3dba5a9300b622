"""Functions of tensors, called in Python and served."""

from __future__ import annotations

import asyncio
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
    Context,
    StartupError,
    Tensor,
    TensorInput,
    TensorOutput,
    ValidationError,
)
from blazerpc.contrib import torch_model
from blazerpc_client import Internal, InvalidArgument
from tests.unit.blazerpc.contrib.arrays import ROWS
from tests.unit.blazerpc.contrib.cuda import needs_cuda
from tests.unit.blazerpc.support import client_of, define, serving

Row4 = Annotated[torch.Tensor, Tensor("batch", 4, dtype=np.float32)]
OneRow = Annotated[torch.Tensor, Tensor(1, 4, dtype=np.float32)]


def assert_kind(value: object, kind: type) -> None:
    """Assert what a type checker does not believe: annotated with arrays, the body has tensors."""
    assert isinstance(value, kind)


async def predicted(client: BlazeClient, model: str, **arrays: object) -> npt.NDArray[Any]:
    result = await client.predict(model, **arrays)
    assert isinstance(result, np.ndarray)
    return result


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
