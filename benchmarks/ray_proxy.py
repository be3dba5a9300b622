"""Ray Serve's own gRPC proxy, as its users set it up, for ``benchmarks.engines``.

The modules of ``PROTO`` have to be on the path, where ``generate`` puts them.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any, Final

import numpy as np

PROTO: Final = """
syntax = "proto3";

message Rows {
  int64 rows = 1;
  bytes data = 2;
}

service Twice {
  rpc Call(Rows) returns (Rows);
}
"""

#: Of the application, which each call names in its metadata.
NAME: Final = "twice"


def generate(directory: Path) -> None:
    """Write ``twice_pb2.py`` and ``twice_pb2_grpc.py``."""
    from grpc_tools import protoc

    (directory / "twice.proto").write_text(PROTO)
    out = [f"-I{directory}", f"--python_out={directory}", f"--grpc_python_out={directory}"]
    if protoc.main(["protoc", *out, "twice.proto"]) != 0:
        raise RuntimeError("protoc failed")


class Twice:
    """The model, which takes and gives protobuf messages."""

    def Call(self, request: Any) -> Any:  # noqa: N802 - the rpc is called so
        """Return the double."""
        x = np.frombuffer(request.data, np.float32).reshape(request.rows, -1)
        return type(request)(rows=request.rows, data=(x * np.float32(2)).tobytes())


def main() -> None:
    """Serve until SIGTERM."""
    import ray
    from ray import serve
    from ray.serve.config import gRPCOptions

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    ray.init("local", include_dashboard=False, log_to_driver=False)
    functions = ["twice_pb2_grpc.add_TwiceServicer_to_server"]
    serve.start(grpc_options=gRPCOptions(port=port, grpc_servicer_functions=functions))
    deployment = serve.deployment(Twice)
    options = {"max_ongoing_requests": 16, "ray_actor_options": {"num_cpus": 0.1}}
    serve.run(deployment.options(**options).bind(), name=NAME)
    print(f"Serving on 127.0.0.1:{port}", flush=True)
    # Ray's core takes SIGTERM otherwise, and aborts.
    signal.signal(signal.SIGTERM, lambda *_: ray.shutdown() or os._exit(0))
    signal.pause()


if __name__ == "__main__":
    main()
