"""ServiceSpec -> a typed Python package."""

from blazerpc_client.codegen.generate import generate
from blazerpc_client.codegen.project import check_project, write_project
from blazerpc_client.codegen.write import NotOursError, write_package

__all__ = ["NotOursError", "check_project", "generate", "write_package", "write_project"]
