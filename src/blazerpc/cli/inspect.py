"""``blaze inspect``: what a server has, by reflection and grpc.health.v1."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor

from blazerpc.cli.exits import FAILURE, CommandError, called_wrongly
from blazerpc.cli.health import health_of
from blazerpc.cli.metadata import hide, parse_metadata
from blazerpc.cli.text import mended
from blazerpc_client.channel import Channel
from blazerpc_client.errors import (
    NotFound,
    PermissionDenied,
    RpcError,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    response_checked,
)
from blazerpc_client.options import CallOptions
from blazerpc_client.reflection import fetch_schema
from blazerpc_client.specs import ServiceSpec, is_blazerpc, model_name, service_spec
from blazerpc_client.tls import TLS


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service of a server.

    Attributes:
        descriptor: that it is reflected by.
        spec: what its models are; None when it is no BlazeRPC server's.
        health: None when the server tells none of it.
        models: the health of each model, by its name.
    """

    descriptor: ServiceDescriptor
    spec: ServiceSpec | None
    health: str | None
    models: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a server has, and its health; None when it has no health service."""

    target: str
    health: str | None
    services: Sequence[Service]


def inspect(target: str, timeout: float, metadata: Sequence[str], tls: TLS) -> Server:
    """Return what the server at ``target`` has, besides health and reflection.

    Args:
        target: ``HOST:PORT``.
        timeout: seconds that each question to the server may take.
        metadata: sent with each, texts of the form ``key=value``.
        tls: how the connection is encrypted.

    Raises:
        CommandError: when the server cannot be asked, or the command was called wrongly.
    """
    with called_wrongly():
        options = CallOptions(timeout=timeout, metadata=parse_metadata(metadata))
        channel = Channel(target, tls=tls)
    try:
        return asyncio.run(_inspected(channel, options))
    except Unavailable as error:
        raise CommandError(hide(mended(error), options.metadata), FAILURE) from None
    except Unimplemented as error:
        raise CommandError(f"{error.message}; enable it there", FAILURE) from None
    except RpcError as error:
        raise CommandError(hide(error.message, options.metadata), FAILURE) from None


async def _inspected(channel: Channel, options: CallOptions) -> Server:
    try:
        schema = await fetch_schema(channel, options=options)
        health = await _health(channel, "", options)
        services = []
        for name in schema.services:
            descriptor = schema.service(name)
            with response_checked():
                spec = service_spec(schema, name) if is_blazerpc(descriptor) else None
            names = [name, *_model_names(spec)]
            healths: list[str | None] = [None] * len(names)
            if health is not None:
                healths = await asyncio.gather(*(_health(channel, n, options) for n in names))
            models = dict(zip(names[1:], healths[1:], strict=True))
            services.append(
                Service(descriptor=descriptor, spec=spec, health=healths[0], models=models)
            )
        return Server(target=channel.target, health=health, services=services)
    finally:
        channel.close()


async def _health(channel: Channel, name: str, options: CallOptions) -> str | None:
    try:
        return await health_of(channel, name, options)
    except (NotFound, PermissionDenied, Unauthenticated, Unimplemented):
        return None


def _model_names(spec: ServiceSpec | None) -> list[str]:
    methods = spec.methods if spec is not None else ()
    return [model_name(method.model) for method in methods if method.model is not None]
