"""grpclib's reflection service, with its messages in a pool of their own.

protobuf's default pool is global, and takes the messages of ``grpc.reflection`` from one library
only. Ray Serve brings grpcio's along, here and in each of its replicas.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager

from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pool import DescriptorPool


@contextmanager
def _own_pool() -> Iterator[None]:
    """Have generated modules that are imported meanwhile add their files to another pool."""
    default, own = descriptor_pool.Default, DescriptorPool()
    descriptor_pool.Default = lambda: own
    try:
        yield
    finally:
        descriptor_pool.Default = default


with _own_pool():
    for _package in ("v1", "v1alpha"):
        importlib.import_module(f"grpclib.reflection.{_package}.reflection_pb2")

from grpclib.reflection.service import ServerReflection  # noqa: E402 - it imports those

__all__ = ["ServerReflection"]
