"""The dynamic client, for those who have the app at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import blazerpc_client
from blazerpc.codegen.schema import build_schema
from blazerpc.runtime.registry import ModelRegistry
from blazerpc_client.options import ChannelOptions
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT, Limits


class BlazeClient(blazerpc_client.BlazeClient):
    """Calls any model by its name.

    Args:
        host: of the server.
        port: of the server.
        registry: of the app that is served; without one, the schema is read from the server.
        target: in place of host and port; several servers take turns.
        wait_for_ready: whether a call waits for a server that cannot be reached; else it fails at
            once.
        http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what the server may ask of BlazeRPC's HTTP/2.
        reach: ``backoff``, ``health``, ``retry``, ``tls``, ``credentials`` and
            ``allow_insecure_credentials``, as for every client.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 50051,
        registry: ModelRegistry | None = None,
        *,
        target: str | Sequence[str] | None = None,
        wait_for_ready: bool = False,
        http: Http | None = None,
        limits: Limits = DEFAULT,
        **reach: Unpack[ChannelOptions],
    ) -> None:
        schema = None if registry is None else build_schema(registry)
        super().__init__(
            host,
            port,
            target=target,
            wait_for_ready=wait_for_ready,
            schema=schema,
            http=http,
            limits=limits,
            **reach,
        )
