"""What a type checker knows of the server's classes in a generated client."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, assert_type

import numpy as np
import numpy.typing as npt
from rows_client import Document, InferenceClient, Kind, Level, Settings, Span

NOW = datetime.now(UTC)


async def main() -> None:
    async with InferenceClient("localhost:50051") as client:
        assert_type(await client.predict_span(value=Span(start=1)), Span)
        assert_type(await client.predict_kind(value=Kind.NOTE), Kind)
        assert_type(await client.predict_mode(value="fast"), Literal["fast", "exact"])
        assert_type(await client.predict_when(value=NOW), datetime)
        assert_type(await client.predict_took(value=timedelta(1)), timedelta)
        assert_type(await client.predict_spans(value={1: Span(start=1)}), dict[int, Span])
        assert_type(await client.predict_optional_span(), Span | None)
        arrays = [np.zeros(3, np.float32)]
        assert_type(await client.predict_arrays(value=arrays), list[npt.NDArray[np.float32]])

        await client.predict_kind(value="NOTE")  # E: Argument "value"
        await client.predict_kind(value=Level.LOW)  # E: Argument "value"
        await client.predict_mode(value="slow")  # E: Argument "value"
        await client.predict_span(value=(1, 2))  # E: Argument "value"
        await client.predict_when(value="2020-01-01")  # E: Argument "value"
        await client.predict_spans(value={"a": Span(start=1)})  # E: Dict entry 0
        await client.predict_arrays(value=[np.zeros(3)])  # E: List item 0
        await client.predict_defaults(counts={"a": "b"})  # E: Dict entry 0


def fields(document: Document) -> None:
    assert_type(document.title, str)
    assert_type(document.embedding, npt.NDArray[np.float32])
    assert_type(document.parts, list[Document])
    assert_type(document.by_number, dict[int, Span])
    assert_type(document.note, str | None)
    assert_type(document.top_k, int)
    assert_type(document.settings, Settings | None)
    print(document.nothing)  # E: "nothing"
    document.top_k = "many"  # E: expression has type


Span()  # E: Missing named argument "start"
Span(1)  # E: Too many positional arguments
Span(start="a")  # E: Argument "start"
Span(start=1, stop=2)  # E: Unexpected keyword argument "stop"
Settings(temperature=0.5, level=Kind.NOTE)  # E: Argument "level"
