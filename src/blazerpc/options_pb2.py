"""What protoc's Python code for an exported .proto file imports as its options file.

protoc writes ``from blazerpc import options_pb2`` for ``import "blazerpc/options.proto"``. Where
this package is installed, that name is looked up here: without it such code cannot be imported.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool

from blazerpc_client.wire.options import OPTIONS_DESCRIPTOR

__all__ = ["DESCRIPTOR", "descriptor_pb2"]

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(OPTIONS_DESCRIPTOR.SerializeToString())
