"""grpc.health.v1: whether the server, each service and each model on it, takes calls.

Protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from grpclib.health.check import ServiceStatus
from grpclib.health.service import OVERALL, Health

from blazerpc.runtime.registry import ModelInfo

if TYPE_CHECKING:
    from grpclib._typing import ICheckable, IServable


class _Named:
    """Stands for something by its name, where grpclib asks a service for its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __mapping__(self) -> dict[str, None]:
        return {f"/{self._name}/": None}


class HealthService(Health):
    """Health of a server, its services, and what else has a name: all of one state."""

    def __init__(
        self, services: Sequence[IServable], names: Iterable[str] = (), serving: bool = True
    ) -> None:
        self._status = ServiceStatus()
        self._serving = serving
        self._ready = True
        self._status.set(serving)
        checked: list[ICheckable] = [*services, *map(_Named, names), OVERALL]
        super().__init__({each: [self._status] for each in checked})

    def set_serving(self, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING from now on, and tell those who watch."""
        self._serving = serving
        self._status.set(self._serving and self._ready)

    def set_ready(self, ready: bool) -> None:
        """Answer NOT_SERVING, whatever ``set_serving`` says, while what runs the models is away."""
        self._ready = ready
        self._status.set(self._serving and self._ready)


def build_health_service(
    services: Sequence[IServable] | None = None, names: Iterable[str] = (), serving: bool = True
) -> HealthService:
    """Return the health service of a server.

    Args:
        services: of the server.
        names: under which clients may ask besides, such as ``model_names`` gives.
        serving: whether it answers SERVING before ``set_serving`` says so.
    """
    return HealthService(services or (), names, serving)


def model_names(models: Iterable[ModelInfo]) -> list[str]:
    """Return the names to ask for models by, which are those that ``BlazeClient`` takes.

    ``digits:2`` is version 2, and ``digits`` alone is version 1 whatever others there are.
    """
    names = [f"{model.name}:{model.version}" for model in models]
    return [*names, *(name.removesuffix(":1") for name in names if name.endswith(":1"))]
