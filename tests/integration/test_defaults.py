"""Parameters with defaults: left out they take the server's, zero and empty are values."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from blazerpc_client import BlazeClient, InvalidArgument
from tests.conftest import ServerProcess
from tests.integration.conftest import generated


@pytest.fixture
async def client(models: ServerProcess) -> AsyncIterator[BlazeClient]:
    async with BlazeClient("127.0.0.1", models.port) as client:
        yield client


async def test_what_is_left_out_takes_the_servers_default(client: BlazeClient) -> None:
    expected = "('a', 3, 0.5, None, 7, [], b'\\x00', None)"
    assert await client.predict("defaults", text="a") == expected
    assert await client.predict("defaults", text="a", top_k=None, limit=None) == expected


async def test_zero_and_empty_are_values(client: BlazeClient) -> None:
    shown = await client.predict(
        "defaults", text="", top_k=0, temperature=0.0, bias=0.0, limit=0, tags=[], raw=b""
    )
    assert shown == "('', 0, 0.0, 0.0, 0, [], b'', None)"


async def test_values_given_arrive(client: BlazeClient) -> None:
    x = np.ones(2, np.float32)
    shown = await client.predict("defaults", text="a", top_k=9, tags=["b"], bias=1.5, x=x)
    assert shown == "('a', 9, 0.5, 1.5, 7, ['b'], b'\\x00', array([1., 1.], dtype=float32))"


async def test_what_has_no_default_is_still_required(client: BlazeClient) -> None:
    with pytest.raises(InvalidArgument, match="text: missing"):
        await client.predict("defaults", top_k=1)
    with pytest.raises(InvalidArgument, match="top_k: expected int, got str"):
        await client.predict("defaults", text="a", top_k="1")


def test_the_generated_client_has_none_for_them_and_names_the_defaults(
    models: ServerProcess, tmp_path: Path
) -> None:
    package = generated(models, tmp_path, "defaults_client")
    method = package.InferenceClient.predict_defaults
    signature = inspect.signature(method)
    without = {n for n, p in signature.parameters.items() if p.default is p.empty}
    assert without == {"self", "text"}
    assert signature.parameters["top_k"].annotation == "int | None"
    assert signature.parameters["tags"].annotation == "list[str] | None"
    for line in ("top_k: 3", "temperature: 0.5", "limit: 7", "tags: []", 'raw: "AA=="'):
        assert f"    {line}\n" in (method.__doc__ or "")
