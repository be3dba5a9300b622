"""Metadata that came with an answer, and how it gets from the channel to who asked for it."""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final, cast

from grpclib.metadata import decode_bin_value, encode_metadata

#: Milliseconds that a request waited, and that its batch took; the size of the batch.
QUEUE_MS: Final = "blaze-queue-ms"
COMPUTE_MS: Final = "blaze-compute-ms"
BATCH_SIZE: Final = "blaze-batch-size"

#: Milliseconds after which a refused call may be made again.
#: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
PUSHBACK: Final = "grpc-retry-pushback-ms"

#: How many attempts of a call there were before, likewise.
PREVIOUS_ATTEMPTS: Final = "grpc-previous-rpc-attempts"

#: Headers of the protocol's own. Others that begin with ``grpc-`` are for who made the call:
#: ``grpc-retry-pushback-ms`` is.
_PROTOCOL: Final = frozenset(
    {
        "content-type",
        "grpc-accept-encoding",
        "grpc-encoding",
        "grpc-message",
        "grpc-status",
        "grpc-status-details-bin",
        "te",
        "user-agent",
    }
)


def check_metadata(metadata: Mapping[str, str | bytes]) -> None:
    """Check that headers can carry what is to be sent.

    Raises:
        ValueError: naming the key. Never the value, which may be a secret: errors end in logs.
    """
    for key, value in metadata.items():
        try:
            encode_metadata({key: value})
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"{key!r}: {_mend(key, value)}") from None


def _mend(key: object, value: object) -> str:
    """Return what would do instead of an entry that headers cannot carry."""
    kind = type(value).__name__
    if isinstance(key, str) and key.endswith("-bin") and not isinstance(value, bytes):
        return f"a key that ends in -bin has a value of bytes, and not {kind}"
    if isinstance(key, str) and not key.endswith("-bin") and not isinstance(value, str):
        return f"a key that does not end in -bin has a value of str, and not {kind}"
    try:
        encode_metadata({cast(str, key): b"" if str(key).endswith("-bin") else "a"})
    except (AttributeError, TypeError, ValueError):
        return "a key has lower-case letters, digits, _ . and -, and is none of gRPC's own"
    return "a value is printable ASCII, not empty; a key that ends in -bin takes any bytes"


def redacted(metadata: Mapping[str, str | bytes]) -> str:
    """Return metadata as it may be shown: its keys alone."""
    return f"{{{', '.join(f'{key!r}: ...' for key in metadata)}}}"


class ReceivedMetadata(Mapping[str, str | bytes]):
    """Metadata of an answer; it does not change.

    Args:
        items: keys and values; a value is bytes when its key ends in ``-bin``, else str.

    A key that came more than once has the last of its values; ``get_all`` returns every one.
    """

    def __init__(self, items: Iterable[tuple[str, str | bytes]] = ()) -> None:
        self._values: dict[str, tuple[str | bytes, ...]] = {}
        for key, value in items:
            self._values[key] = (*self._values.get(key, ()), value)

    def get_all(self, key: str) -> tuple[str | bytes, ...]:
        """Return the values of a key in the order they came, none when there is no such key."""
        return self._values.get(key, ())

    def __getitem__(self, key: str) -> str | bytes:
        return self._values[key][-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        items = [(key, value) for key, values in self._values.items() for value in values]
        return f"ReceivedMetadata({items!r})"


def received(headers: Iterable[tuple[str, str]]) -> ReceivedMetadata:
    """Return the metadata among the headers or the trailers of an answer.

    A binary value that is not base64 is left out: it must not hide how the call ended.
    """
    return ReceivedMetadata(
        (key, value)
        for key, text in headers
        if not (key.startswith(":") or key in _PROTOCOL)
        for value in (_binary(text) if key.endswith("-bin") else (text,))
    )


def _binary(text: str) -> Iterator[bytes]:
    # A proxy may have joined the values of a key.
    # https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
    for part in text.split(","):
        try:
            yield decode_bin_value(part.encode())
        except binascii.Error:
            continue


@dataclass(slots=True)
class Recorder:
    """Holds the metadata of the last call that ended well, of those it is told of."""

    initial: ReceivedMetadata = field(default_factory=ReceivedMetadata)
    trailing: ReceivedMetadata = field(default_factory=ReceivedMetadata)


#: Is told of the calls that begin in this context.
current_recorder: ContextVar[Recorder | None] = ContextVar("current_recorder", default=None)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Tell ``recorder`` of the calls that begin within."""
    token = current_recorder.set(recorder)
    try:
        yield
    finally:
        current_recorder.reset(token)
