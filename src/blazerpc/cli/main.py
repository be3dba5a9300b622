"""``blaze``: the commands, and how they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import rich.markup
import typer
from rich.console import Console

from blazerpc.cli.check import as_json as changes_as_json
from blazerpc.cli.check import check_client, verdict_of
from blazerpc.cli.client import generate_client
from blazerpc.cli.load import ImportStringError, load_app
from blazerpc.cli.proto import export_proto
from blazerpc.cli.serve import serve as run_server
from blazerpc.config import ServeOptions
from blazerpc.exceptions import BlazeRPCError
from blazerpc_client import RpcError, Unavailable, Unimplemented
from blazerpc_client.codegen import NotOursError
from blazerpc_client.compare import Verdict
from blazerpc_client.transport.choice import Http
from blazerpc_client.transport.limits import DEFAULT, Limits

#: Exit codes: a command that failed, and one that was called wrongly.
FAILURE: Final = 1
USAGE: Final = 2

cli: typer.Typer = typer.Typer(
    name="blaze",
    help="Serve typed Python models over gRPC, and generate typed clients for them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
client_cli: typer.Typer = typer.Typer(
    help="Typed clients of running servers.", no_args_is_help=True
)
cli.add_typer(client_cli, name="client")

App = Annotated[
    str, typer.Argument(metavar="MODULE:ATTR", help="Where the BlazeApp is, like app:app.")
]

Source = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="SOURCE",
        help="HOST:PORT of a running server with reflection, MODULE:ATTR of an app, or the path of "
        "a schema.binpb.",
    ),
]

Lock = Annotated[
    Path | None,
    typer.Option(help="Lock file of the app, with all its numbers on the wire."),
]


@cli.command()
def serve(
    app: App,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 lets the system choose.")] = 50051,
    grace: Annotated[
        float, typer.Option(help="Seconds that calls in flight have to finish after a signal.")
    ] = 5.0,
    lock: Lock = None,
    http: Annotated[
        Http | None,
        typer.Option(help="HTTP/2: BlazeRPC's own, or that of grpclib.", show_default="blaze"),
    ] = None,
    max_message: Annotated[
        int, typer.Option(help="Bytes of a message that is received.", min=0, max=2**31 - 1)
    ] = DEFAULT.max_receive_message,
) -> None:
    """Serve an app over gRPC, with health and reflection, until SIGINT or SIGTERM."""
    with _one_line_errors():
        options = ServeOptions(
            host=host,
            port=port,
            grace_period=grace,
            lock=lock,
            http=http,
            limits=Limits(max_receive_message=max_message),
        )
        run_server(load_app(app), options, Console())


@cli.command()
def proto(
    app: App,
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


@client_cli.command()
def gen(
    source: Source,
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
    lock: Lock = None,
) -> None:
    """Generate a typed client."""
    with _one_line_errors():
        version = project_version if project else None
        path = asyncio.run(
            generate_client(source, out, package, service or (), lock, sync=sync, project=version)
        )
        typer.echo(f"wrote {path}")


@client_cli.command()
def check(
    package: Annotated[
        Path, typer.Argument(help="A generated package, or the schema.binpb of one.")
    ],
    source: Source,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result as JSON.")] = False,
    lock: Lock = None,
) -> None:
    """Tell if a generated client fits a schema: same, compatible, or breaking (exit code 1)."""
    with _one_line_errors():
        changes = asyncio.run(check_client(source, package, lock))
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
def _one_line_errors() -> Iterator[None]:
    """Turn what a user can mend into one line on stderr and an exit code."""
    try:
        yield
    except ImportStringError as error:
        _fail(str(error), USAGE)
    except BlazeRPCError as error:
        _fail(str(error), FAILURE)
    except NotOursError as error:
        _fail(f"{error}; choose another --out or --package", FAILURE)
    except Unavailable as error:
        _fail(f"{error.message}; is the server running there?", FAILURE)
    except Unimplemented as error:
        _fail(f"{error.message}; enable it there", FAILURE)
    except RpcError as error:
        _fail(error.message, FAILURE)
    except OSError as error:
        _fail(str(error), FAILURE)


def _fail(message: str, code: int) -> NoReturn:
    one_line = " ".join(message.split())
    Console(stderr=True, soft_wrap=True).print(
        "[bold red]error:[/bold red]", rich.markup.escape(one_line), highlight=False
    )
    raise typer.Exit(code)


def main() -> None:
    """Run the command line."""
    cli()
