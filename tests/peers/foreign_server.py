"""A server of other people's services: grpcio's health, channelz and reflection, Triton's, a zoo.

A program of its own: these protocols are in protobuf's global pool, some of them also in that of
the tests. Serves on a free port of the loopback, prints its address, ends with its standard input.
Every method of the zoo answers what it was asked; the first animal's ``from`` says how it fails.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import Any

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tritonclient.grpc import service_pb2, service_pb2_grpc

ZOO, ZOO_GRPC = grpc.protos_and_services("tests/protos/zoo.proto")


class Zoo(ZOO_GRPC.ZooServiceServicer):  # type: ignore[name-defined,misc]  # made at run time
    def Import(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._checked(request, context)

    def ImportAll(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Any:
        answer = ZOO.list()
        for request in requests:
            answer.str.append(self._checked(request, context))
            if getattr(request, "from") == "enough":
                break
        return answer

    def Export(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for animal in request.str:
            yield self._checked(animal, context)

    def Chat(self, requests: Iterable[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        for request in requests:
            yield self._checked(request, context)
            if getattr(request, "from") == "enough":
                break

    def Close(self, request: Any, context: grpc.ServicerContext) -> Any:
        return request

    Know = Recall = Close

    @staticmethod
    def _checked(animal: Any, context: grpc.ServicerContext) -> Any:
        match getattr(animal, "from"):
            case "nowhere":
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no such place")
            case "slow":
                while context.is_active():
                    time.sleep(0.05)
        return animal


class OtherZoo(ZOO_GRPC.ZooServicer):  # type: ignore[name-defined,misc]  # likewise
    def Import(self, request: Any, context: grpc.ServicerContext) -> Any:
        return request


class Triton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # untyped
    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:
        return service_pb2.ServerLiveResponse(live=True)

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        output = service_pb2.ModelInferResponse.InferOutputTensor(
            name=request.inputs[0].name, datatype="FP32", shape=request.inputs[0].shape
        )
        return service_pb2.ModelInferResponse(
            model_name=request.model_name,
            id=request.id,
            parameters=request.parameters,
            outputs=[output],
            raw_output_contents=request.raw_input_contents,
        )

    def ModelStreamInfer(
        self, requests: Iterable[Any], context: grpc.ServicerContext
    ) -> Iterator[Any]:
        for request in requests:
            answer = self.ModelInfer(request, context)
            yield service_pb2.ModelStreamInferResponse(infer_response=answer)


def main() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    health_servicer = health.HealthServicer()
    health_servicer.set("zoo", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    channelz.add_channelz_servicer(server)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Triton(), server)
    ZOO_GRPC.add_ZooServiceServicer_to_server(Zoo(), server)
    ZOO_GRPC.add_ZooServicer_to_server(OtherZoo(), server)
    names = [
        "grpc.health.v1.Health",
        "grpc.channelz.v1.Channelz",
        "inference.GRPCInferenceService",
        "zoo.v1.ZooService",
        "zoo.v1.Zoo",
        reflection.SERVICE_NAME,
    ]
    reflection.enable_server_reflection(names, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
