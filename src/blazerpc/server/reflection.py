"""gRPC reflection, v1 and v1alpha, over the app's own descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.utils import _service_name

from blazerpc.server.grpclib_reflection import ServerReflection
from blazerpc_client.schema import Schema

if TYPE_CHECKING:
    from grpclib._typing import IServable


def build_reflection_service(
    services: Sequence[IServable] | None = None, schema: Schema | None = None
) -> list[IServable]:
    """Return ``services`` and the two reflection services that describe them.

    Args:
        services: that are listed.
        schema: of the app's own service; files of others come from protobuf's default pool.
    """
    services = list(services or ())
    files = {file.name: file for file in schema.files} if schema else {}
    for service in services:
        _add_from_default_pool(files, _service_name(service))
    extended: list[IServable] = ServerReflection.extend(services, pool=Schema(files.values()).pool)
    return extended


def _add_from_default_pool(files: dict[str, FileDescriptorProto], service: str) -> None:
    """Add the file of ``service``, and what it imports, unless the service is known already."""
    if any(service == f"{file.package}.{s.name}" for file in files.values() for s in file.service):
        return

    def add(file: FileDescriptor) -> None:
        if file.name not in files:
            files[file.name] = FileDescriptorProto.FromString(file.serialized_pb)
            for imported in file.dependencies:
                add(imported)

    add(descriptor_pool.Default().FindFileContainingSymbol(service))
