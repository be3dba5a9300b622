"""nginx between a client and a server, as a proxy of gRPC."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.processes import Server

_CONFIGURATION: Final = """
daemon off;
worker_processes 1;
{user}pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    large_client_header_buffers 4 64k;
    upstream wire {{ server {target}; keepalive {keepalive}; }}
    server {{
        listen {address} http2;
        location / {{ grpc_pass grpc://wire; }}
    }}
}}
"""


@contextmanager
def proxied(path: str, target: str, directory: Path, *, keepalive: int = 1) -> Iterator[Server]:
    """Run nginx in front of a gRPC server.

    Args:
        path: of nginx.
        target: the server's address.
        directory: for its files, which is empty.
        keepalive: connections to the server that it keeps.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=511) as listener:
        address = "127.0.0.1:{1}".format(*listener.getsockname())
        configuration = directory / "nginx.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                directory=directory,
                target=target,
                address=address,
                keepalive=keepalive,
                # The directory is that of whoever runs this.
                user="user root;" if os.getuid() == 0 else "",
            )
        )
        # It listens before nginx runs, which takes it for that of an nginx that it replaces: there
        # is no port that somebody else could take, and no moment at which it would be too early.
        file = listener.fileno()
        with subprocess.Popen(
            [path, "-c", str(configuration), "-p", str(directory)],
            env={**os.environ, "NGINX": f"{file};"},
            pass_fds=[file],
            process_group=0,
            stderr=subprocess.DEVNULL,  # what it would say, its log says
        ) as process:
            try:
                yield Server(address, process.pid)
                assert process.poll() is None, (directory / "error.log").read_text()
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(timeout=20)
