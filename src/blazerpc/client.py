"""The dynamic client, for those who have the app at hand."""

from __future__ import annotations

import blazerpc_client
from blazerpc.codegen.schema import build_schema
from blazerpc.runtime.registry import ModelRegistry
from blazerpc_client.credentials import Credentials
from blazerpc_client.tls import TLS
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
        tls: True for TLS with the system's authorities, ``ClientTLS`` for others, or a context.
        credentials: metadata sent with every call, or a function that is asked for it each time;
            the metadata of a call goes over it.
        allow_insecure_credentials: whether it is sent without TLS, too, where anybody can read it.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 50051,
        registry: ModelRegistry | None = None,
        *,
        http: Http | None = None,
        limits: Limits = DEFAULT,
        tls: TLS = None,
        credentials: Credentials | None = None,
        allow_insecure_credentials: bool = False,
    ) -> None:
        schema = None if registry is None else build_schema(registry)
        super().__init__(
            host,
            port,
            schema=schema,
            http=http,
            limits=limits,
            tls=tls,
            credentials=credentials,
            allow_insecure_credentials=allow_insecure_credentials,
        )
