"""``blaze client gen``: a typed client from a live server."""

from __future__ import annotations

import keyword
from collections.abc import Sequence
from pathlib import Path

from blazerpc.exceptions import ConfigurationError
from blazerpc_client.channel import Channel
from blazerpc_client.codegen import generate, write_package
from blazerpc_client.reflection import fetch_schema
from blazerpc_client.schema import Schema
from blazerpc_client.specs import is_blazerpc, service_spec
from blazerpc_client.wire.errors import WireError


async def generate_client(
    source: str, directory: Path, package: str, services: Sequence[str]
) -> Path:
    """Read the schema of the server at ``source``, and write the client ``directory/package``.

    Returns:
        The package.

    Raises:
        ConfigurationError: when the package's name is none, or no service can have a client.
        RpcError: when the server cannot be read.
        NotOursError: when the target holds something else.
        OSError: when the file system refuses.
    """
    if not package.isidentifier() or keyword.iskeyword(package):
        raise ConfigurationError(f"{package!r} is no package name; use letters, digits and '_'")
    channel = Channel(source)
    try:
        schema = await fetch_schema(channel, tuple(services))
    finally:
        channel.close()
    try:
        specs = [service_spec(schema, name) for name in services or _own_services(schema)]
    except WireError as error:
        raise ConfigurationError(f"cannot make a client of {error}") from None
    if not specs:
        raise ConfigurationError(f"{source} has no service of BlazeRPC")
    write_package(directory / package, generate(schema, specs))
    return directory / package


def _own_services(schema: Schema) -> list[str]:
    return [name for name in schema.services if is_blazerpc(schema.service(name))]
