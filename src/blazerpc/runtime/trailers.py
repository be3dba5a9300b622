"""Trailers of gRPC's own, which metadata cannot hold, on either HTTP/2."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from grpclib.server import Stream


@runtime_checkable
class TakesTrailers(Protocol):
    """A call that is not grpclib's own."""

    def add_protocol_trailer(self, name: str, value: str) -> None:
        """Send a trailer at the end."""


def add_trailer(stream: Stream[Any, Any], key: str, value: str) -> None:
    """Send a trailer at the end of a call."""
    if isinstance(stream, TakesTrailers):
        stream.add_protocol_trailer(key, value)
        return
    below = stream._stream
    send = below.send_headers

    async def send_headers(headers: list[tuple[str, str]], end_stream: bool = False) -> None:
        await send([*headers, (key, value)] if end_stream else headers, end_stream=end_stream)

    below.send_headers = send_headers  # type: ignore[method-assign]  # grpclib has no hook for it
