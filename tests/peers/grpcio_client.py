"""A plain grpcio client, with classes that protoc made from the exported .proto files.

A program of its own: the classes go into protobuf's global pool, which holds one schema only.
Arguments: the server's address, and the directory of the generated modules. Prints JSON.
"""

from __future__ import annotations

import json
import struct
import sys
from importlib import import_module
from typing import Any

import grpc


def main(target: str, directory: str) -> None:
    sys.path.insert(0, directory)
    messages: Any = import_module("blaze_service_pb2")
    services: Any = import_module("blaze_service_pb2_grpc")
    with grpc.insecure_channel(target) as channel:
        stub = services.InferenceServiceStub(channel)
        greeting = stub.PredictGreet(messages.GreetRequest(name="ab", times=2))
        matrix = messages.TensorProto(
            shape=[2, 4], dtype="float", data=struct.pack("<8f", *range(8))
        )
        weights = messages.TensorProto(shape=[2], dtype="float", data=struct.pack("<2f", 1, 2))
        rows = stub.PredictSumRows(messages.SumRowsRequest(x=matrix, weights=weights))
        numbers = [m.result for m in stub.PredictCount(messages.CountRequest(to=3, fail_at=-1))]
        try:
            stub.PredictFail(messages.FailRequest(how="raise"))
            failure = ""
        except grpc.RpcError as error:
            failure = error.code().name
        try:
            nothing: Any = channel.unary_unary("/blazerpc.InferenceService/PredictNothing")
            nothing(b"")
            unknown = ""
        except grpc.RpcError as error:
            unknown = error.code().name
    answer = {
        "greeting": greeting.result,
        "rows": struct.unpack("<2f", rows.result.data),
        "shape": list(rows.result.shape),
        "numbers": numbers,
        "failure": failure,
        "unknown": unknown,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
