from __future__ import annotations

import pytest

from blazerpc_client.naming import client_name, method_name


@pytest.mark.parametrize(
    ("rpc", "python"),
    [
        ("PredictSentiment", "predict_sentiment"),
        ("PredictMyModel", "predict_my_model"),
        ("PredictMyModelV2", "predict_my_model_v2"),
        ("PredictMyModelV2_1", "predict_my_model_v2_1"),
        ("PredictGPT", "predict_gpt"),
        ("PredictGpt", "predict_gpt"),
        ("PredictGPT2Large", "predict_gpt2_large"),
        ("PredictHTTPServer", "predict_http_server"),
        ("PredictX", "predict_x"),
        ("PredictA1B2", "predict_a1_b2"),
        ("Predict_x", "predict_x"),
        ("Predict", "predict"),
        ("predict", "predict"),
        ("predictMyModel", "predict_my_model"),
        ("ABC", "abc"),
    ],
)
def test_an_rpc_becomes_a_method(rpc: str, python: str) -> None:
    assert method_name(rpc) == python


@pytest.mark.parametrize(
    ("service", "client"),
    [
        ("blazerpc.InferenceService", "InferenceClient"),
        ("a.b.FooService", "FooClient"),
        ("Foo", "FooClient"),
        ("FooService", "FooClient"),
        ("ServiceFoo", "ServiceFooClient"),
        ("pkg.Service.Foo", "FooClient"),
        ("FooServiceService", "FooServiceClient"),
    ],
)
def test_a_service_becomes_a_client(service: str, client: str) -> None:
    assert client_name(service) == client
