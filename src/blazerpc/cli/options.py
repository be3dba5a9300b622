"""Arguments and options of the commands, as Typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blazerpc import config
from blazerpc.cli import engine
from blazerpc_client.transport import choice, messages

App = Annotated[
    str, typer.Argument(metavar="MODULE:ATTR", help="Where the BlazeApp is, like app:app.")
]

Target = Annotated[
    str,
    typer.Argument(
        metavar="HOST:PORT", help="Address of a running server; unix:PATH of one on a UNIX socket."
    ),
]

Metadata = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Sent with each call; repeat for several."),
]

Tls = Annotated[bool, typer.Option("--tls", help="Use TLS; implied by the options for its files.")]
Ca = Annotated[
    Path | None,
    typer.Option(help="PEM file of the authorities to trust. Default: the system's."),
]
Cert = Annotated[
    Path | None, typer.Option(help="PEM file of your own certificate; --key goes with it.")
]
Key = Annotated[Path | None, typer.Option(help="PEM file of its private key.")]
ServerName = Annotated[
    str | None,
    typer.Option(help="Name that the server's certificate must be for. Default: that of HOST."),
]

Source = Annotated[
    str,
    typer.Option(
        "--from",
        metavar="SOURCE",
        help="HOST:PORT or unix:PATH of a running server with reflection, MODULE:ATTR of an app, "
        "or the path of a FileDescriptorSet or of a generated package.",
    ),
]

Lock = Annotated[
    Path | None,
    typer.Option(help="Lock file of the app, with all its numbers on the wire."),
]

# Of `blaze serve`.

Host = Annotated[str, typer.Option(help="Address to listen on; unix:PATH for a UNIX socket.")]
Port = Annotated[int, typer.Option(help="Port; 0 lets the system choose.")]
Grace = Annotated[
    float, typer.Option(help="Seconds that calls in flight have to finish after a signal.")
]
Workers = Annotated[
    int, typer.Option(help="Processes that share the port; one that crashes is replaced.")
]
Reload = Annotated[
    bool,
    typer.Option(
        "--reload",
        help="Restart when a source below the current directory changes; needs the extra 'reload'.",
    ),
]
AccessLog = Annotated[
    bool, typer.Option("--access-log/--no-access-log", help="Log a line for each call.")
]
LogLevel = Annotated[
    config.LogLevel, typer.Option(help="The least that is logged; calls are info.")
]
LogFormat = Annotated[
    config.LogFormat, typer.Option(help="Lines for people, or a JSON object a line.")
]
MetricsPort = Annotated[
    int | None,
    typer.Option(help="Port of http://HOST:PORT/metrics for Prometheus; default: none."),
]
MetricsHost = Annotated[
    str | None, typer.Option(help="Address of the metrics; default: that of --host.")
]
Http = Annotated[
    choice.Http | None,
    typer.Option(help="HTTP/2: BlazeRPC's own, or that of grpclib.", show_default="blaze"),
]
MaxMessage = Annotated[
    int,
    typer.Option(
        help="Bytes of a message that is received; of BlazeRPC's HTTP/2.", min=0, max=2**31 - 1
    ),
]
TlsCert = Annotated[
    Path | None,
    typer.Option(help="PEM file of the server's certificate; --tls-key goes with it."),
]
TlsKey = Annotated[Path | None, typer.Option(help="PEM file of its private key.")]
TlsClientCa = Annotated[
    Path | None,
    typer.Option(help="PEM file of the authorities that clients' certificates must be of."),
]
Reflection = Annotated[
    bool, typer.Option("--reflection/--no-reflection", help="Let clients read the schema.")
]
Limit = Annotated[
    list[str],
    typer.Option(
        metavar="NAME=VALUE",
        help="A limit of BlazeRPC's HTTP/2, as idle_timeout=300 or max_connections=1000; "
        "may be repeated.",
    ),
]
Compression = Annotated[
    messages.Compression | None, typer.Option(help="Compress answers for clients that take it.")
]
HttpPort = Annotated[
    int | None,
    typer.Option(help="Port of HTTP with JSON, of one process; needs the extra 'http'."),
]
Oip = Annotated[
    bool, typer.Option("--oip/--no-oip", help="Serve the Open Inference Protocol, too.")
]
Engine = Annotated[
    engine.Engine,
    typer.Option(help="Where models run: in the server, or on Ray Serve (extra 'ray')."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A running Ray; default: one for this server."),
]
RayRelease = Annotated[
    str | None,
    typer.Option(help="Release of the models' code; default: told by their sources."),
]
RayStartTimeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="That all replicas have to start; default: 300."),
]
