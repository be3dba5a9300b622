"""grpc.health.v1: whether the server, and each service on it, takes calls.

Protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from grpclib.health.check import ServiceStatus
from grpclib.health.service import OVERALL, Health

if TYPE_CHECKING:
    from grpclib._typing import IServable


class HealthService(Health):
    """Health of a server as a whole and of each of its services, all of one state."""

    def __init__(self, services: Sequence[IServable]) -> None:
        self._status = ServiceStatus()
        self._status.set(True)
        super().__init__({service: [self._status] for service in (*services, OVERALL)})

    def set_serving(self, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on, and tell those who watch."""
        self._status.set(serving)


def build_health_service(services: Sequence[IServable] | None = None) -> HealthService:
    """Return the health service of a server that has ``services``."""
    return HealthService(services or ())
