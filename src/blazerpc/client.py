"""The dynamic client, for those who have the app at hand."""

from __future__ import annotations

import blazerpc_client
from blazerpc.codegen.schema import build_schema
from blazerpc.runtime.registry import ModelRegistry
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT, Limits


class BlazeClient(blazerpc_client.BlazeClient):
    """Calls any model by its name.

    Args:
        host: of the server.
        port: of the server.
        registry: of the app that is served; without one, the schema is read from the server.
        http: ``"blaze"`` for BlazeRPC's HTTP/2, ``"h2"`` for grpclib's; None for the default.
        limits: what the server may ask of BlazeRPC's HTTP/2.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 50051,
        registry: ModelRegistry | None = None,
        *,
        http: Http | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        schema = None if registry is None else build_schema(registry)
        super().__init__(host, port, schema=schema, http=http, limits=limits)
