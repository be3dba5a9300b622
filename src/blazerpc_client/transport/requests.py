"""A request's headers, read once: clients send the same ones again and again.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Requests"
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from grpclib.const import Status
from grpclib.metadata import decode_timeout

from blazerpc_client.transport.headers import Fields
from blazerpc_client.transport.messages import GZIP

#: Fields that are not the caller's metadata, as grpclib has it.
_OURS: Final = frozenset(["te", "content-type", "user-agent"])


@dataclass(frozen=True, slots=True)
class Request:
    """What a call's headers say.

    Attributes:
        path: of the rpc.
        content_type: as it was given.
        user_agent: of the client.
        timeout: seconds, None without a deadline.
        metadata: the caller's, values of ``-bin`` keys decoded.
        accepts_gzip: whether the answer may be compressed.
    """

    path: str
    content_type: str
    user_agent: str | None
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]
    accepts_gzip: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is none of gRPC's."""

    http_status: int
    status: Status | None = None
    message: str = ""


def read_request(fields: Fields, subtype: str) -> Request | Refusal:
    """Return the request, or why it is none, for a server whose codec is of ``subtype``."""
    named = dict(fields)
    if named[":method"] != "POST":
        return Refusal(405)
    content_type = named.get("content-type")
    if content_type is None:
        return Refusal(415, Status.UNKNOWN, "Missing content-type header")
    base, _, given = content_type.partition("+")
    if base != "application/grpc" or (given or "proto") != subtype:
        return Refusal(415, Status.UNKNOWN, "Unacceptable content-type header")
    if named.get("te") != "trailers":
        return Refusal(400, Status.UNKNOWN, 'Required "te: trailers" header is missing')
    try:
        timeout = min((decode_timeout(v) for k, v in fields if k == "grpc-timeout"), default=None)
    except ValueError:
        return Refusal(200, Status.INTERNAL, "Invalid grpc-timeout header")
    try:
        metadata = _metadata(fields)
    except binascii.Error:
        return Refusal(200, Status.INTERNAL, "Metadata that is no base64")
    accepted = named.get("grpc-accept-encoding", "").replace(" ", "").split(",")
    return Request(
        path=named[":path"],
        content_type=content_type,
        user_agent=named.get("user-agent"),
        timeout=timeout,
        metadata=metadata,
        accepts_gzip=GZIP in accepted,
    )


def _metadata(fields: Fields) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(
        (name, _binary(value) if name.endswith("-bin") else value)
        for name, value in fields
        if name not in _OURS and not name.startswith((":", "grpc-"))
    )


def _binary(value: str) -> bytes:
    # Padding may be left out.
    return base64.b64decode(value + "=" * (-len(value) % 4), validate=True)
