"""A client below gRPC: any headers, any body, over a real socket."""

from __future__ import annotations

import socket

import h2.connection
import h2.events


def post(port: int, path: str, body: bytes, **headers: str) -> dict[str, str]:
    """Send one HTTP/2 request, and return headers and trailers of the answer together."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": f"127.0.0.1:{port}",
        "te": "trailers",
        "content-type": "application/grpc",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    connection.send_headers(1, list(fields.items()))
    connection.send_data(1, body, end_stream=True)
    answer: dict[str, str] = {}
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(connection.data_to_send())
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    for name, value in event.headers:
                        answer[_text(name)] = _text(value)
                if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    return answer
            sock.sendall(connection.data_to_send())
    raise ConnectionError(f"the server closed the connection; before that it sent {answer}")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
