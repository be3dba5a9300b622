"""``blaze``: the commands, and how they fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blazerpc.cli import options as opt
from blazerpc.cli.call import CallSettings
from blazerpc.cli.call import call as run_call
from blazerpc.cli.check import as_json as changes_as_json
from blazerpc.cli.check import check_client, verdict_of
from blazerpc.cli.client import Access, generate_client
from blazerpc.cli.engine import chosen_engine
from blazerpc.cli.exits import FAILURE, USAGE, called_wrongly
from blazerpc.cli.failures import explained, print_error
from blazerpc.cli.health import SUMMARY
from blazerpc.cli.health import main as check_health
from blazerpc.cli.inspect import inspect as inspect_server
from blazerpc.cli.limits import with_limits
from blazerpc.cli.load import load_app
from blazerpc.cli.proto import export_proto
from blazerpc.cli.report import as_json as report_as_json
from blazerpc.cli.report import tables
from blazerpc.cli.serve import serve as run_server
from blazerpc.cli.serve import supervise
from blazerpc.cli.tls import client_tls, server_tls
from blazerpc.config import LogFormat, LogLevel, LogOptions, ServeOptions
from blazerpc_client.compare import Verdict
from blazerpc_client.transport.limits import DEFAULT, Limits

cli: typer.Typer = typer.Typer(
    name="blaze",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
client_cli: typer.Typer = typer.Typer(
    help="Typed clients, and whether they still fit.", no_args_is_help=True
)
cli.add_typer(client_cli, name="client")


@cli.command()
def serve(
    app: opt.App,
    host: opt.Host = "127.0.0.1",
    port: opt.Port = 50051,
    grace: opt.Grace = 5.0,
    lock: opt.Lock = None,
    workers: opt.Workers = 1,
    reload: opt.Reload = False,
    access_log: opt.AccessLog = True,
    log_level: opt.LogLevel = LogLevel.INFO,
    log_format: opt.LogFormat = LogFormat.TEXT,
    metrics_port: opt.MetricsPort = None,
    metrics_host: opt.MetricsHost = None,
    http: opt.Http = None,
    max_message: opt.MaxMessage = DEFAULT.max_receive_message,
    tls_cert: opt.TlsCert = None,
    tls_key: opt.TlsKey = None,
    tls_client_ca: opt.TlsClientCa = None,
    reflection: opt.Reflection = True,
    limit: opt.Limit = [],  # noqa: B006 - Typer reads it, and nobody writes to it
    compression: opt.Compression = None,
    http_port: opt.HttpPort = None,
    oip: opt.Oip = True,
    engine: opt.Engine = "local",
    ray_address: opt.RayAddress = None,
    ray_release: opt.RayRelease = None,
    ray_start_timeout: opt.RayStartTimeout = None,
) -> None:
    """Serve an app over gRPC, with health and reflection, until SIGINT or SIGTERM."""
    with _one_line_errors(code=USAGE):
        options = ServeOptions(
            host=host,
            port=port,
            grace_period=grace,
            lock=lock,
            workers=workers,
            access_log=access_log,
            metrics_port=metrics_port,
            metrics_host=metrics_host,
            log=LogOptions(level=log_level, format=log_format),
            http=http,
            ssl=server_tls(tls_cert, tls_key, tls_client_ca),
            reflection=reflection,
            limits=with_limits(limit, Limits(max_receive_message=max_message)),
            compression=compression,
            oip=oip,
            http_port=http_port,
            engine=chosen_engine(engine, app, ray_address, ray_release, ray_start_timeout),
        )
    with _one_line_errors():
        if reload or workers > 1:
            supervise(app, options, Console(), reload=reload)
        else:
            run_server(load_app(app), options, Console())


@cli.command()
def proto(
    app: opt.App,
    output_dir: Annotated[Path, typer.Option(help="Where the files go.")] = Path(),
    lock: Annotated[
        Path | None,
        typer.Option(help="Lock file to keep: numbers on the wire stay what they are in it."),
    ] = None,
) -> None:
    """Write an app's schema as .proto files."""
    with _one_line_errors():
        for path in export_proto(load_app(app), output_dir, lock):
            typer.echo(f"wrote {path}")


@cli.command()
def inspect(
    target: opt.Target,
    as_json: Annotated[bool, typer.Option("--json", help="Write all of it as JSON.")] = False,
    timeout: Annotated[
        float, typer.Option(help="Seconds that each question to the server may take.")
    ] = 10.0,
    metadata: opt.Metadata = None,
    tls: opt.Tls = False,
    ca: opt.Ca = None,
    cert: opt.Cert = None,
    key: opt.Key = None,
    server_name: opt.ServerName = None,
) -> None:
    """Show what a server has: services, models, what they take and give, health."""
    with _one_line_errors():
        with called_wrongly():
            security = client_tls(tls, ca, cert, key, server_name)
        server = inspect_server(target, timeout, metadata or (), security)
        if as_json:
            typer.echo(report_as_json(server))
        else:
            console = Console()
            for part in tables(server):
                console.print(part)


@cli.command()
def call(
    target: opt.Target,
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A model, like digits or digits:2, or a method of any server: pkg.Service/Method.",
        ),
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Text as it is, JSON for numbers, lists and tensors; @file.json, @array.npy, "
            "@image.png; - for standard input; KEY:=VALUE is JSON in any case.",
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds that the call may take. Default: any time.")
    ] = None,
    metadata: opt.Metadata = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Save a tensor there, as .npy; of a stream, result-0.npy and so on."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write results as JSON lines.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show the metadata after the result, on stderr.")
    ] = False,
    tls: opt.Tls = False,
    ca: opt.Ca = None,
    cert: opt.Cert = None,
    key: opt.Key = None,
    server_name: opt.ServerName = None,
) -> None:
    """Call a model, or a method of any server with reflection.

    Exit code 0, 2 when the call could not be made of the arguments, 64 and the number of the gRPC
    status when it failed (68: DEADLINE_EXCEEDED), 1 otherwise.
    """
    with _one_line_errors():
        with called_wrongly():
            security = client_tls(tls, ca, cert, key, server_name)
        settings = CallSettings(
            timeout=timeout,
            metadata=metadata or (),
            as_json=as_json,
            out=out,
            verbose=verbose,
            tls=security,
        )
        raise typer.Exit(run_call(target, name, arguments or (), settings))


@cli.command(
    help=SUMMARY,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def health(context: typer.Context) -> None:
    """Have the command parse its arguments itself; mostly it is run without this module."""
    raise typer.Exit(check_health(context.args))


@client_cli.command()
def gen(
    source: opt.Source,
    out: Annotated[Path, typer.Option(help="Directory that the package is put in.")] = Path(),
    package: Annotated[str, typer.Option(help="Name of the package.")] = "inference_client",
    service: Annotated[
        list[str] | None,
        typer.Option(help="Full name of a service; repeat for several. Default: all."),
    ] = None,
    sync: Annotated[bool, typer.Option("--sync", help="Add blocking clients.")] = False,
    project: Annotated[
        bool, typer.Option("--project", help="Add a pyproject.toml, to build and publish it.")
    ] = False,
    project_version: Annotated[str, typer.Option(help="Version in pyproject.toml.")] = "0.1.0",
    lock: opt.Lock = None,
    metadata: opt.Metadata = None,
    tls: opt.Tls = False,
    ca: opt.Ca = None,
    cert: opt.Cert = None,
    key: opt.Key = None,
    server_name: opt.ServerName = None,
) -> None:
    """Generate a typed client."""
    with _one_line_errors():
        version = project_version if project else None
        access = Access(client_tls(tls, ca, cert, key, server_name), metadata or ())
        path = asyncio.run(
            generate_client(
                source, out, package, service or (), lock, sync=sync, project=version, access=access
            )
        )
        typer.echo(f"wrote {path}")


@client_cli.command()
def check(
    package: Annotated[
        Path, typer.Argument(help="A generated package, or the schema.binpb of one.")
    ],
    source: opt.Source,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
    lock: opt.Lock = None,
    metadata: opt.Metadata = None,
    tls: opt.Tls = False,
    ca: opt.Ca = None,
    cert: opt.Cert = None,
    key: opt.Key = None,
    server_name: opt.ServerName = None,
) -> None:
    """Tell if a generated client fits a schema: same, compatible, or breaking (exit code 1).

    What cannot be compared ends with exit code 2, and with --json an object that has "error".
    """
    with _one_line_errors(code=USAGE, as_json=as_json):
        access = Access(client_tls(tls, ca, cert, key, server_name), metadata or ())
        changes = asyncio.run(check_client(source, package, lock, access))
    verdict = verdict_of(changes)
    if as_json:
        typer.echo(changes_as_json(changes))
    else:
        for change in changes:
            typer.echo(str(change))
        typer.echo(verdict)
    if verdict == Verdict.BREAKING:
        raise typer.Exit(FAILURE)


@contextmanager
def _one_line_errors(*, code: int | None = None, as_json: bool = False) -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and an exit code.

    Args:
        code: in place of the failure's own.
        as_json: whether the line goes to stdout, too, as JSON.
    """
    try:
        yield
    except Exception as error:
        failure = explained(error)
        if failure is None:
            raise
        if as_json:
            typer.echo(json.dumps({"error": failure.message}, ensure_ascii=False))
        print_error(failure.message)
        raise typer.Exit(failure.code if code is None else code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blaze {metadata.version('blazerpc')}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Serve typed Python models over gRPC, and generate typed clients for them."""


def main() -> None:
    """Run the command line."""
    cli()
