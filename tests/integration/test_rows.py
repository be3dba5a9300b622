"""Any value of any kind of type survives a generated client, the server, and the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import rows_client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rows_client import Document, Extra, InferenceClient, Kind, Level, Settings, Span, messages

from blazerpc_client import BlazeClient, InvalidArgument
from tests.apps.rows import ROWS
from tests.conftest import ServerProcess, StartServer

# Loop and server are shared on purpose: it is one server that must stand all values.
few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
int64 = st.integers(-(1 << 63), (1 << 63) - 1)
kinds = st.sampled_from([Kind.ARTICLE, Kind.NOTE])
levels = st.sampled_from(list(Level))
modes = st.sampled_from(["fast", "exact"])
zones = st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30))])
times = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)
durations = st.timedeltas(timedelta(days=-3_652_500), timedelta(days=3_652_500))
floats = st.floats(width=32)
spans = st.builds(Span, start=int64, end=int64)
extras = st.builds(Extra, source=text, weight=st.none() | st.floats())
all_settings = st.builds(
    Settings, temperature=st.floats(0, 100, width=32), stop=st.lists(text), level=levels
)
vectors = hnp.arrays(np.float32, 3)


def documents(parts: st.SearchStrategy[Document] | None = None) -> st.SearchStrategy[Document]:
    return st.builds(
        Document,
        title=text,
        raw=st.binary(),
        score=floats,
        embedding=vectors,
        kind=kinds,
        mode=modes,
        when=times,
        took=durations,
        span=spans,
        extra=extras,
        parts=st.lists(parts, max_size=2) if parts is not None else st.just([]),
        by_name=st.dictionaries(text, parts, max_size=2) if parts is not None else st.just({}),
        by_number=st.dictionaries(int64, spans, max_size=2),
        images=st.lists(hnp.arrays(np.uint8, (2, 3)), max_size=2),
        flags=st.lists(st.booleans()),
        note=st.none() | text,
        level=levels,
        top_k=int64,
        settings=st.none() | all_settings,
        halves=st.none() | hnp.arrays(np.float16, 2),
    )


all_documents = documents() | documents(documents())

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "document": all_documents,
    "span": spans,
    "extra": extras,
    "settings": all_settings,
    "kind": kinds,
    "level": levels,
    "mode": modes,
    "when": times,
    "took": durations,
    "documents": st.lists(all_documents, max_size=2),
    "kinds": st.lists(kinds),
    "modes": st.lists(modes),
    "times": st.lists(times),
    "widths": st.lists(st.integers(-(1 << 31), (1 << 31) - 1)),
    "counts": st.dictionaries(text, int64),
    "spans": st.dictionaries(int64, spans),
    "levels": st.dictionaries(text, levels),
    "scores": st.dictionaries(text, st.floats()),
    "arrays": st.lists(vectors),
    "named_arrays": st.dictionaries(text, hnp.arrays(np.complex64, ())),
    "texts": st.lists(text.map(lambda value: value.rstrip("\0"))).map(lambda v: np.array(v, "U8")),
    "blobs": hnp.arrays(np.dtype("S8"), 3),
    "brains": vectors.map(lambda array: array.astype(ml_dtypes.bfloat16)),
    "jax": hnp.arrays(np.float32, (3, 2)),
}


@pytest.fixture(scope="module")
def server(start_module_server: StartServer) -> ServerProcess:
    return start_module_server("tests.apps.rows:app")


@pytest.fixture(scope="module")
def client(server: ServerProcess, runner: asyncio.Runner) -> Iterator[InferenceClient]:
    client = InferenceClient(server.target)
    yield client
    runner.run(client.close())


def same(name: str, left: object, right: object) -> bool:
    """Compare two results; as fields of a message, so that arrays and NaN compare too."""
    stem = "".join(word.capitalize() for word in name.split("_"))
    response = getattr(messages, f"{stem}Response")
    return bool(response(result=left) == response(result=right))


def test_every_row_has_values() -> None:
    assert VALUES.keys() == ROWS.keys()


@pytest.mark.parametrize("name", VALUES)
@few
@given(data=st.data())
def test_any_value_survives(
    client: InferenceClient, runner: asyncio.Runner, name: str, data: st.DataObject
) -> None:
    value = data.draw(VALUES[name])
    result = runner.run(getattr(client, f"predict_{name}")(value=value))
    assert same(name, result, value)


@pytest.mark.parametrize("name", VALUES)
@few
@given(data=st.data())
def test_any_value_survives_in_a_stream(
    client: InferenceClient, runner: asyncio.Runner, name: str, data: st.DataObject
) -> None:
    value = data.draw(VALUES[name])

    async def collect() -> list[object]:
        return [item async for item in getattr(client, f"predict_stream_{name}")(value=value)]

    results = runner.run(collect())
    assert [same(name, result, value) for result in results] == [True, True]


@pytest.mark.parametrize(
    "name", [n for n in VALUES if hasattr(InferenceClient, f"predict_optional_{n}")]
)
@few
@given(data=st.data())
def test_any_value_or_none_survives(
    client: InferenceClient, runner: asyncio.Runner, name: str, data: st.DataObject
) -> None:
    value = data.draw(st.none() | VALUES[name])
    result = runner.run(getattr(client, f"predict_optional_{name}")(value=value))
    assert (result is None) if value is None else same(name, result, value)


async def test_what_is_left_out_takes_the_servers_default(server: ServerProcess) -> None:
    async with InferenceClient(server.target) as client:
        assert await client.predict_defaults() == "NOTE exact 0:01:00 {} None"
        shown = await client.predict_defaults(
            kind=Kind.ARTICLE, counts={"a": 1}, settings=Settings(temperature=1)
        )
        assert shown == (
            "ARTICLE exact 0:01:00 {'a': 1} temperature=1.0 stop=[] level=<Level.HIGH: 10>"
        )


def test_a_default_of_the_server_is_that_of_the_message() -> None:
    assert Span(start=1).end == -1
    assert Settings(temperature=0).level is Level.HIGH
    assert Settings(temperature=0).stop == []
    assert Extra(source="").weight is None


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("when", datetime(2020, 1, 1), "value: a naive datetime; give it a time zone"),
        ("when", "2020-01-01", "value: expected datetime, got str"),
        ("took", timedelta.max, "value: out of the range of google.protobuf.Duration"),
        ("took", 3, "value: expected timedelta, got int"),
        ("kind", "ARTICLE", "value: expected Kind, got str"),
        ("kind", Kind.UNSPECIFIED, "value: expected one of ARTICLE, NOTE; got none of them"),
        ("kind", Kind(7), "value: expected one of ARTICLE, NOTE; got 7"),
        ("kinds", [Kind.NOTE, 1], r"value\[1\]: expected Kind, got int"),
        ("mode", "slow", "value: expected one of 'fast', 'exact', got 'slow'"),
        ("mode", 1, "value: expected one of 'fast', 'exact', got int"),
        ("span", (1, 2), "value: expected Span, got tuple"),
        ("span", Span(start=1 << 63), r"value\.start: value is out of range for int64"),
        ("spans", {1: Span(start="a")}, r"value\[1\]\.start: expected int, got str"),  # type: ignore[arg-type]  # what is tested
        ("spans", {"a": Span(start=1)}, r"value\['a'\]: expected int, got str"),
        ("counts", [1], "value: expected dict, got list"),
        ("counts", {"a": "b"}, r"value\['a'\]: expected int, got str"),
        ("settings", Settings(temperature=-1), "value: Settings refuses it: temperature: Input"),
        ("arrays", [np.ones(1, np.float32), np.ones(2, np.float32)], r"value\[1\]: dimension 'n'"),
        ("named_arrays", {"a": np.ones(1)}, r"value\['a'\]: expected dtype complex64, got float64"),
        ("jax", np.ones((3, 3), np.float32), r"value: expected shape \(n, 2\), got \(3, 3\)"),
    ],
)
async def test_what_the_schema_does_not_allow_is_refused_by_name(
    server: ServerProcess, name: str, value: object, message: str
) -> None:
    async with InferenceClient(server.target) as client:
        with pytest.raises(InvalidArgument, match=f"^{message}"):
            await getattr(client, f"predict_{name}")(value=value)


async def test_without_classes_a_message_is_a_dict_and_a_member_its_name(
    server: ServerProcess,
) -> None:
    async with BlazeClient("127.0.0.1", server.port) as client:
        assert await client.predict("kind", value="NOTE") == "NOTE"
        value = {"temperature": 1.5, "stop": ["a"], "level": "LOW"}
        assert await client.predict("settings", value=value) == value
        assert await client.predict("spans", value={3: {"start": 1}}) == {
            3: {"start": 1, "end": -1}
        }
        with pytest.raises(InvalidArgument, match=r"^value\.begin: no such field; there are: "):
            await client.predict("span", value={"begin": 1})
        with pytest.raises(InvalidArgument, match=r"^value\.start: missing"):
            await client.predict("span", value={})


def test_all_classes_are_exported() -> None:
    assert {"Document", "Kind", "InferenceClient"} <= set(rows_client.__all__)
