"""What comes beside a result, for blocking clients."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from anyio.from_thread import start_blocking_portal
from zoo_client import SyncZooServiceClient, ZooV1Animal

from blazerpc_client import Aborted, sync
from tests.unit.blazerpc_client.zoo import TIMEOUT, animal, metadata, serving_zoo, whole


@pytest.fixture
def blocking() -> Iterator[SyncZooServiceClient]:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving_zoo()) as target,
        SyncZooServiceClient(target, timeout=TIMEOUT) as client,
    ):
        yield client


def test_blocking_clients_have_their_own(blocking: SyncZooServiceClient) -> None:
    response = sync.with_response(blocking.import_, from_="rex")
    assert response.result.from_ == "rex"
    assert metadata(response) == whole("rex", "rex")
    assert (response.queue_ms, response.compute_ms, response.batch_size) == (1.5, 20.0, 7)
    joined = sync.with_response(blocking.import_all, [animal("rex"), animal("pip")])
    assert metadata(joined) == whole("rex", "pip")
    with pytest.raises(Aborted) as caught:
        sync.with_response(blocking.import_, from_="fail")
    assert caught.value.trailing_metadata["x-last"] == "fail"


def test_blocking_streams_have_their_own(blocking: SyncZooServiceClient) -> None:
    stream = sync.with_response(blocking.export, str=[animal("rex"), animal("pip")])
    with pytest.raises(RuntimeError, match="has not ended"):
        stream.trailing_metadata  # noqa: B018
    assert [each.from_ for each in stream] == ["rex", "pip"]
    assert metadata(stream) == whole("rex", "pip")
    assert stream.batch_size == 7
    chat = sync.with_response(blocking.chat, iter([animal("rex")]))
    assert list(chat) == [animal("rex")]
    assert metadata(chat) == whole("nobody", "rex")


def test_a_blocking_stream_that_was_left_or_failed_has_no_metadata(
    blocking: SyncZooServiceClient,
) -> None:
    with closing(sync.with_response(blocking.export, str=[animal("rex"), animal("pip")])) as left:
        assert next(left) == animal("rex")
    failed = sync.with_response(blocking.export, str=[animal("fail")])
    with pytest.raises(Aborted):
        list(failed)
    for stream in (left, failed):
        assert list(stream) == []
        with pytest.raises(RuntimeError, match="failed or was left"):
            stream.queue_ms  # noqa: B018


def test_threads_share_a_blocking_client(blocking: SyncZooServiceClient) -> None:
    names = [f"animal-{number}" for number in range(40)]

    def last(name: str) -> str | bytes:
        return sync.with_response(blocking.import_, from_=name).trailing_metadata["x-last"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(last, names)) == names


def test_a_blocking_call_that_feeds_another_is_not_that_one(blocking: SyncZooServiceClient) -> None:
    def fed() -> Iterator[ZooV1Animal]:
        yield animal("first")
        yield blocking.import_(from_="rex")
        yield animal("last")

    response = sync.with_response(blocking.import_all, fed())
    assert metadata(response) == whole("first", "last")
