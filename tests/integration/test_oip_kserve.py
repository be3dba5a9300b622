"""KServe's own clients call the models."""

from __future__ import annotations

import json

import pytest

from tests.conftest import StartServer
from tests.integration.conftest import http_of
from tests.integration.oip import APP
from tests.integration.peers import kserve, output

pytestmark = pytest.mark.peers


def test_kserves_clients_are_answered(start_server: StartServer) -> None:
    server = start_server(APP, "--http-port", "0")
    printed = output([*kserve(), server.target, http_of(server)])
    results = [0.5, 0, 0.5, "hello you", 0.5, 0, "hello you"]
    # Before its answers, its client of gRPC logs.
    assert json.loads(printed.splitlines()[-1]) == [[True, True, True, results]] * 2
