"""KServe's clients of both kinds, in an environment of their own; prints what they were answered.

Arguments: the addresses of gRPC and of HTTP.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import kserve  # type: ignore[import-not-found]  # its environment is another one
import numpy as np
import numpy.typing as npt
from kserve.inference_client import (  # type: ignore[import-not-found]  # likewise
    InferenceGRPCClient,
    InferenceRESTClient,
    RESTConfig,
)

Infer = Callable[[str, Any], Awaitable[Any]]

HALVES = np.array([[0.5, -2.0]], np.float16)
TEXT = np.array([b"you"], object)


def request(model: str, name: str, array: npt.NDArray[Any], datatype: str, *, raw: bool) -> Any:
    tensor = kserve.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=raw)
    return kserve.InferRequest(model_name=model, infer_inputs=[tensor])


async def answers(infer: Infer) -> list[object]:
    """Return the results of raw and typed requests."""
    results: list[object] = []
    for raw in (True, False):
        for model, name, array, datatype in (
            ("back-float32", "x", HALVES.astype(np.float32), "FP32"),
            ("back-int64", "x", HALVES.astype(np.int64), "INT64"),
            ("back-float16", "x", HALVES, "FP16"),
            ("greet", "name", TEXT, "BYTES"),
        ):
            if datatype == "FP16" and not raw:
                continue  # it refuses that itself
            answer = await infer(model, request(model, name, array, datatype, raw=raw))
            (value,) = answer.outputs[0].as_numpy().reshape(-1)[:1].tolist()
            results.append(value.decode() if isinstance(value, bytes) else value)
    return results


async def over_grpc(target: str) -> object:
    client = InferenceGRPCClient(target)

    async def infer(model: str, message: Any) -> Any:
        return await client.infer(message)

    ready = [await client.is_server_live(), await client.is_server_ready()]
    return [*ready, await client.is_model_ready("greet"), await answers(infer)]


async def over_http(address: str) -> object:
    client, url = InferenceRESTClient(RESTConfig(protocol="v2")), f"http://{address}"

    async def infer(model: str, message: Any) -> Any:
        return await client.infer(url, message, model_name=model)

    ready = [await client.is_server_live(url), await client.is_server_ready(url)]
    return [*ready, await client.is_model_ready(url, "greet"), await answers(infer)]


async def main(target: str, address: str) -> None:
    print(json.dumps([await over_grpc(target), await over_http(address)]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
