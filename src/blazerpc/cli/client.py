"""``blaze client gen``: a typed client from a live server, an app, or a schema in a file."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from blazerpc.cli.exits import called_wrongly
from blazerpc.cli.load import load_app
from blazerpc.cli.metadata import hide, parse_metadata
from blazerpc.codegen.lock import SchemaLock
from blazerpc.codegen.schema import build_schema
from blazerpc.exceptions import ConfigurationError
from blazerpc_client.channel import Channel
from blazerpc_client.codegen import check_project, generate, write_package, write_project
from blazerpc_client.errors import InvalidArgument, RpcError
from blazerpc_client.options import CallOptions
from blazerpc_client.reflection import fetch_schema
from blazerpc_client.schema import Schema
from blazerpc_client.specs import service_spec
from blazerpc_client.tls import TLS
from blazerpc_client.wire.errors import WireError

#: https://packaging.python.org/en/latest/specifications/version-specifiers/, normal forms only.
_VERSION: Final = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?")

#: What the name of a file with a schema ends in.
_FILE: Final = ".binpb"

#: The schema in a generated package.
PACKAGED: Final = "schema.binpb"

#: An import string, which an address is not: its second part is a number, or the first is unix.
_APP: Final = re.compile(r"(?!unix:)[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


#: Seconds that reading a server's schema may take.
_TIMEOUT: Final = 10.0


@dataclass(frozen=True, slots=True)
class Access:
    """What a server asks of who reads its schema.

    Attributes:
        tls: how the connection is encrypted.
        metadata: texts of the form ``key=value``.
    """

    tls: TLS = None
    metadata: Sequence[str] = ()


#: Of a server that asks for nothing.
OPEN: Final = Access()


async def generate_client(
    source: str,
    directory: Path,
    package: str,
    services: Collection[str],
    lock: Path | None = None,
    *,
    sync: bool = False,
    project: str | None = None,
    access: Access = OPEN,
) -> Path:
    """Read the schema at ``source``, and write the client ``directory/package``.

    Args:
        source: as for ``read_schema``, ``services`` and ``lock`` too.
        directory: that the package is put in.
        package: its name.
        services: full names of those wanted.
        lock: the lock file that the app is served with.
        sync: whether there are blocking clients too.
        project: the version of a ``pyproject.toml`` beside the package; None writes none.
        access: to the server, if it is one.

    Returns:
        The package.

    Raises:
        ConfigurationError: when the package's name is none, or no service can have a client.
        RpcError: when the server cannot be read.
        NotOursError: when the target holds something else.
        OSError: when the file system refuses.
    """
    _check_package(package)
    if project is not None:
        _check_project(package, project)
        check_project(directory)
    schema = await read_schema(source, services, lock, access=access)
    try:
        specs = [service_spec(schema, name) for name in schema.services]
        specs = [spec for spec in specs if spec.methods]
    except WireError as error:
        raise ConfigurationError(f"cannot make a client of {error}") from None
    if not specs:
        raise ConfigurationError(f"{source} has no service with methods but health and reflection")
    write_package(directory / package, generate(schema, specs, sync=sync))
    if project is not None:
        write_project(directory, package, project, sync=sync)
    return directory / package


async def read_schema(
    source: str,
    services: Collection[str] = (),
    lock: Path | None = None,
    *,
    known: Collection[str] = (),
    access: Access = OPEN,
) -> Schema:
    """Return the schema at ``source``.

    Args:
        source: ``HOST:PORT`` of a server with reflection, ``MODULE:ATTR`` of an app, or the path of
            a serialised ``FileDescriptorSet`` or of a package, which has one in ``schema.binpb``.
        services: full names of those wanted; without any, all but a server's health and reflection.
        lock: the lock file that the app is served with.
        known: health and reflection services that are wanted nevertheless, if there are such.
        access: to the server, if it is one.

    Raises:
        ConfigurationError: when there is no schema, or not all services are in it.
        RpcError: when the server cannot be read.
        OSError: when the file cannot.
    """
    schema = _local(source, lock)
    if schema is None:
        return await _from_server(source, services, known, access)
    if access != OPEN:
        raise ConfigurationError("TLS and metadata are for a server: HOST:PORT")
    for name in services:
        if name not in schema.services:
            found = ", ".join(schema.services)
            raise ConfigurationError(f"{source} has no service {name}; it has: {found}")
    return schema.only(services) if services else schema


def _local(source: str, lock: Path | None) -> Schema | None:
    """Return the schema of an app, a file or a package; None when it is none of these."""
    path = Path(source)
    is_app = not path.exists() and _APP.fullmatch(source) is not None
    if lock is not None and not is_app:
        raise ConfigurationError("a lock file is for an app: MODULE:ATTR")
    if is_app:
        return build_schema(load_app(source).registry, SchemaLock.read(lock) if lock else None)
    if path.is_dir():
        return _from_file(path / PACKAGED)
    if path.is_file() or source.endswith(_FILE):
        return _from_file(path)
    return None


async def _from_server(
    target: str, services: Collection[str], known: Collection[str], access: Access
) -> Schema:
    with called_wrongly():
        metadata = parse_metadata(access.metadata)
    try:
        channel = Channel(target, tls=access.tls)
    except InvalidArgument as error:
        if error.field != "target":
            raise
        raise ConfigurationError(
            f"{target!r} is no HOST:PORT, no MODULE:ATTR, and no file or package with a schema"
        ) from None
    options = CallOptions(timeout=_TIMEOUT, metadata=metadata)
    try:
        return await fetch_schema(channel, services, known=known, options=options)
    except RpcError as error:
        raise type(error)(hide(error.message, metadata)) from error.__cause__
    finally:
        channel.close()


def _check_package(package: str) -> None:
    if not package.isidentifier() or keyword.iskeyword(package):
        raise ConfigurationError(f"{package!r} is no package name; use letters, digits and '_'")
    if package in sys.stdlib_module_names:
        raise ConfigurationError(f"{package!r} is a module of Python's own; choose another name")


def _check_project(package: str, version: str) -> None:
    # https://packaging.python.org/en/latest/specifications/name-normalization/ says it of the name.
    if not re.fullmatch("[A-Za-z0-9]+(_[A-Za-z0-9]+)*", package):
        raise ConfigurationError(f"a project cannot be called {package!r}; choose other letters")
    if not _VERSION.fullmatch(version):
        raise ConfigurationError(f"{version!r} is no version of a project; 1.2.0 is one")


def _from_file(path: Path) -> Schema:
    try:
        return Schema.from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError(f"there is no {path}") from None
    except (DecodeError, WireError) as error:
        raise ConfigurationError(f"{path} holds no schema: {error}") from None
