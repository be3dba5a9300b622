"""``blaze serve``: run an app's server."""

from __future__ import annotations

import asyncio
import enum
import sys
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from prometheus_client import REGISTRY
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from blazerpc.app import BlazeApp
from blazerpc.cli.failures import print_error
from blazerpc.cli.logs import start_logging
from blazerpc.config import ServeOptions, listening_on
from blazerpc.endpoint import metrics_endpoint
from blazerpc.exceptions import ConfigurationError
from blazerpc.rows import OptionalRow, Row
from blazerpc.runtime.registry import ModelInfo
from blazerpc.server.memory import keep_what_was_started
from blazerpc.server.middleware import MetricsMiddleware
from blazerpc.supervisor.reload import source_changes
from blazerpc.supervisor.supervisor import Supervisor


def serve(app: BlazeApp, options: ServeOptions, console: Console) -> None:
    """Serve ``app`` until a signal; say what is served, and where, once it is.

    Raises:
        ConfigurationError: for an app without models, or an address that cannot be had.
    """
    start_logging(options.log)
    run(_serve(app, options, console))


def supervise(app: str, options: ServeOptions, console: Console, *, reload: bool) -> None:
    """Serve the app of that import string in processes of their own, until a signal.

    Raises:
        ConfigurationError: for an address that cannot be had, or when a package is missing.
        WorkersError: when the app cannot be served, or a worker keeps crashing.
        OSError: when the sources cannot be watched.
    """
    if sys.platform == "win32":
        raise ConfigurationError("--workers and --reload need a POSIX system")
    changes = source_changes(Path.cwd(), options.lock) if reload else None
    start_logging(options.log)
    asyncio.run(Supervisor(app, options, console, print_error).run(changes))


def run(main: Coroutine[object, object, None]) -> None:
    """Run ``main`` on uvloop, on platforms that have it."""
    if sys.platform == "win32":
        asyncio.run(main)
    else:
        import uvloop

        uvloop.run(main)


async def _serve(app: BlazeApp, options: ServeOptions, console: Console) -> None:
    server = app.server(options)
    with _metrics(app, options) as url:
        await server.listen(options.host, options.port)
        keep_what_was_started()
        if server.is_serving:
            console.print(served(app))
            if url is not None:
                console.print(f"Metrics on {url}", highlight=False)
            if server.face_port is not None:
                console.print(f"HTTP on {options.host}:{server.face_port}", highlight=False)
            # Last, and on a line of its own: whoever started this process can wait for it.
            console.print(f"Serving on {listening_on(options.host, server.port)}", highlight=False)
        await server.wait()


def _metrics(app: BlazeApp, options: ServeOptions) -> AbstractContextManager[str | None]:
    """Serve the metrics of the app's middleware, else those of the process, if at all."""
    if options.metrics_port is None:
        return nullcontext()
    own = [each.registry for each in app.middleware if isinstance(each, MetricsMiddleware)]
    return metrics_endpoint(
        options.metrics_address, options.metrics_port, own[0] if own else REGISTRY
    )


def served(app: BlazeApp) -> Table:
    """Return the table of an app's models."""
    table = Table("model", "version", "takes", "gives", title=escape(app.name))
    for model in app.registry.list_models():
        # Escaped: to rich, the brackets of list[int] are markup.
        table.add_row(model.name, model.version, escape(_takes(model)), escape(_gives(model)))
    return table


def _takes(model: ModelInfo) -> str:
    return ", ".join(_parameter(model, name, row) for name, row in model.parameters.items())


def _parameter(model: ModelInfo, name: str, row: Row) -> str:
    if name not in model.defaults:
        return f"{name}: {row}"
    default = model.defaults[name]
    if isinstance(row, OptionalRow) and default is not None:
        row = row.present  # it may be left out, which the default says
    return f"{name}: {row} = {default if isinstance(default, enum.Enum) else repr(default)}"


def _gives(model: ModelInfo) -> str:
    return f"stream of {model.result}" if model.streaming else str(model.result)
