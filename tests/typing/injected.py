"""What every type checker knows of Context, Depends, class models and the options of a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, assert_type

import numpy as np
import numpy.typing as npt

from blazerpc import AppState, BlazeApp, Context, Depends, Tensor

Rows = Annotated[npt.NDArray[np.float32], Tensor("batch", 4)]


class Database:
    """What models depend on."""

    def __init__(self, url: str = "") -> None: ...

    def get(self) -> str:
        return "value"


@asynccontextmanager
async def lifespan(app: BlazeApp) -> AsyncIterator[Mapping[str, object]]:
    app.state.database = Database()
    yield {"more": 1}


@asynccontextmanager
async def lifespan_of_nothing(app: BlazeApp) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def lifespan_of_a_number(app: BlazeApp) -> AsyncIterator[int]:
    yield 3


app = BlazeApp(lifespan=lifespan, max_queue_size=10, max_concurrency=2, max_concurrent_requests=64)
BlazeApp(lifespan=lifespan_of_nothing)
BlazeApp(lifespan=lifespan_of_a_number)  # E: Argument "lifespan" to "BlazeApp"
BlazeApp(lifespan=3)  # E: Argument "lifespan" to "BlazeApp"
BlazeApp("app", True, 8, 5.0, None, 10)  # E: Too many positional arguments
assert_type(app.state, AppState)


# Functions that make values, of every kind.


def plain() -> Database:
    return Database()


def of_context(ctx: Context) -> Database:
    return Database(ctx.method)


async def coroutine() -> Database:
    return Database()


async def coroutine_of_context(ctx: Context) -> Database:
    return Database()


def generator() -> Iterator[Database]:
    yield Database()


def generator_of_context(ctx: Context) -> Generator[Database, None, None]:
    yield Database()


async def async_generator() -> AsyncIterator[Database]:
    yield Database()


async def async_generator_of_context(ctx: Context) -> AsyncGenerator[Database, None]:
    yield Database()


def awaitable() -> Awaitable[Database]:
    return coroutine()


class Pool:
    """A method is a function, too."""

    async def database(self) -> Database:
        return Database()


def of_text(text: str) -> Database:
    return Database(text)


assert_type(Depends(plain), Database)
assert_type(Depends(of_context), Database)
assert_type(Depends(coroutine), Database)
assert_type(Depends(coroutine_of_context), Database)
assert_type(Depends(generator), Database)
assert_type(Depends(generator_of_context), Database)
assert_type(Depends(async_generator), Database)
assert_type(Depends(async_generator_of_context), Database)
assert_type(Depends(awaitable), Database)
assert_type(Depends(Pool().database), Database)
assert_type(Depends(Database), Database)
assert_type(Depends(partial(of_text, "a")), Database)
Depends(of_text)  # E: Argument 1 to "Depends"
Depends(3)  # E: No overload variant of "Depends"
Depends()  # E: All overload variants of "Depends" require


@app.model("price")
def price(item: str, ctx: Context, db: Database = Depends(async_generator)) -> float:
    assert_type(ctx.app_state, AppState)
    assert_type(ctx.time_remaining, float | None)
    assert_type(ctx.metadata["user"], str | bytes)
    ctx.set_trailing_metadata("cost", "3")
    ctx.set_trailing_metadata("cost", 3)  # E: Argument 2 to "set_trailing_metadata"
    return len(db.get())


@app.model("annotated")
async def annotated(item: str, db: Annotated[Database, Depends(generator)]) -> str:
    assert_type(db, Database)
    return db.get()


def wrong(item: str, db: str = Depends(plain)) -> float:  # E: Incompatible default for
    return 1.0


# Class models.


@app.model("digits", max_batch_size=8, batch_timeout_ms=5, isolate_failures=True)
class Digits:
    """The decorator gives back the class."""

    def __init__(self, path: str = "digits.bin") -> None:
        self.path = path

    def warmup(self) -> None: ...

    def __call__(self, x: Rows) -> Rows:
        return x


assert_type(Digits("other.bin"), Digits)
assert_type(Digits().path, str)
assert_type(Digits()(np.zeros((1, 4), np.float32)), npt.NDArray[np.float32])
Digits(3)  # E: Argument 1 to "Digits"
Digits()("text")  # E: Argument 1 to "__call__"


# Options.


@app.model("lengths", batch=True, enable_batching=None, max_queue_size=0, max_concurrency=4)
def lengths(texts: list[str]) -> list[int | Exception]:
    return [len(text) for text in texts]


assert_type(lengths(["a"]), list[int | Exception])
app.model("a", batch="yes")  # E: Argument "batch" to "model"
app.model("a", max_batch_size="many")  # E: Argument "max_batch_size" to "model"
app.model("a", max_concurrency=1.5)  # E: Argument "max_concurrency" to "model"
app.model("a", isolate_failures=None)  # E: Argument "isolate_failures" to "model"
app.model("a", "1", False, True)  # E: Too many positional arguments
app.model("a", max_batch=8)  # E: Unexpected keyword argument "max_batch"
