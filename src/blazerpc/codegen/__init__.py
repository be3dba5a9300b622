"""What follows from the registry: descriptors, .proto text, handlers."""

from blazerpc.codegen.proto import ProtoGenerator
from blazerpc.codegen.schema import build_schema
from blazerpc.codegen.servicer import InferenceServicer, build_servicer

__all__ = ["InferenceServicer", "ProtoGenerator", "build_schema", "build_servicer"]
