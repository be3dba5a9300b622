"""Where models run, as the command line says it: ``--engine``, ``--ray-...``."""

from __future__ import annotations

from typing import Literal

from blazerpc.config import RayEngine
from blazerpc.exceptions import ConfigurationError

Engine = Literal["local", "ray"]


def chosen_engine(
    engine: Engine,
    app: str,
    address: str | None,
    release: str | None,
    start_timeout: float | None,
) -> RayEngine | None:
    """Return the engine that was chosen; None when it is the server's own process.

    Args:
        engine: by name.
        app: import string of the app.
        address: of a running Ray.
        release: of the models' code.
        start_timeout: seconds that all replicas have to start.

    Raises:
        ConfigurationError: for options of an engine that was not chosen, or out of their bounds.
    """
    if engine == "ray":
        if start_timeout is None:
            return RayEngine(address=address, app=app, release=release)
        return RayEngine(address=address, app=app, release=release, start_timeout=start_timeout)
    if address is not None or release is not None or start_timeout is not None:
        raise ConfigurationError(
            "--ray-address, --ray-release and --ray-start-timeout are for --engine ray; add it"
        )
    return None
