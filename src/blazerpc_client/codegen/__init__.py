"""ServiceSpec -> a typed Python package."""

from blazerpc_client.codegen.generate import generate
from blazerpc_client.codegen.write import NotOursError, write_package

__all__ = ["NotOursError", "generate", "write_package"]
