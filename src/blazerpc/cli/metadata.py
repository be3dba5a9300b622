"""Metadata on the command line. Its values may be secrets: nothing here shows what was typed."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from blazerpc.cli.arrays import bytes_from_text
from blazerpc.cli.text import one_line
from blazerpc_client.errors import InvalidArgument
from blazerpc_client.metadata import ReceivedMetadata
from blazerpc_client.options import CallOptions, Metadata
from blazerpc_client.wire.errors import WireError

#: A value that is shorter is no secret, and hiding it would make other words unreadable.
_SHORTEST_SECRET: Final = 4

_HIDDEN: Final = "(hidden)"


def parse_metadata(texts: Sequence[str]) -> dict[str, str | bytes]:
    """Return the metadata of ``key=value`` texts; the value of a key in ``-bin`` is base64.

    Raises:
        WireError: saying which of the texts is none, by its place.
    """
    metadata: dict[str, str | bytes] = {}
    for place, text in enumerate(texts, start=1):
        key, equals, value = text.partition("=")
        at = f"--metadata, number {place}"
        if not equals:
            raise WireError("it has the form key=value", field=at)
        if key in metadata:
            raise WireError("the key is that of an earlier one", field=at)
        try:
            metadata[key] = bytes_from_text(value) if key.endswith("-bin") else value
            CallOptions(metadata={key: metadata[key]})
        except WireError as error:
            raise error.at(at) from None
        except InvalidArgument:  # which quotes it
            raise WireError(
                "a key is made of a-z, 0-9, '_', '-' and '.', and does not begin with grpc-; a "
                "value is printable ASCII",
                field=at,
            ) from None
    return metadata


def hide(text: str, sent: Metadata) -> str:
    """Return a text that a server wrote without the values of the metadata that it was sent."""
    for secret in sorted(_secrets(sent), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def lines_of(received: ReceivedMetadata, sent: Mapping[str, str | bytes]) -> Iterator[str]:
    """Yield a line for each value that came, ``key: value``; bytes are base64."""
    for key in received:
        for value in received.get_all(key):
            text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
            yield one_line(f"{key}: {hide(text, sent)}")


def _secrets(sent: Metadata) -> Iterator[str]:
    for value in sent.values():
        texts = [base64.b64encode(value).decode()] if isinstance(value, bytes) else [value]
        if isinstance(value, str):
            texts.append(value.partition(" ")[2])  # of "Bearer secret", the secret
        yield from (text for text in texts if len(text) >= _SHORTEST_SECRET)
