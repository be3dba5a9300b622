"""Which rpcs a middleware leaves alone."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from blazerpc.exceptions import ConfigurationError

#: What asks for a server's health often knows nothing but its address.
HEALTH: Final = (
    "/grpc.health.v1.Health/",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
)

# No prefix of any other form: one that is too short would match more than was meant.
_FORM: Final = re.compile(r"/[\w.]+/\w*")


class Paths:
    """Rpcs, and whole services.

    Args:
        paths: of rpcs, as ``/package.Service/Method``, or of services, as ``/package.Service/``.

    Raises:
        ConfigurationError: for a path of another form.
    """

    def __init__(self, paths: Collection[str]) -> None:
        given = [paths] if isinstance(paths, str) else list(paths)
        for path in given:
            if not _FORM.fullmatch(path):
                raise ConfigurationError(f"{path!r} is no /package.Service/ or /.../Method")
        self._paths = frozenset(given)

    def __contains__(self, path: str) -> bool:
        return path in self._paths or path[: path.rfind("/") + 1] in self._paths
