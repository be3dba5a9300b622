"""Ray on Kubernetes, by its manifest and by what its front doors start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.deploy_files import (
    RAY_SERVICE,
    Object,
    objects,
    only,
    templates,
)


def front_door() -> Object:
    found: Object = list(templates(objects(RAY_SERVICE)[0]))[-1]["spec"]["containers"][-1]
    return found


def waiting_for_ray(directory: Path) -> list[str]:
    """Return the command of a front door, with Ray's directory where a test can write."""
    return [word.replace("/tmp/ray", str(directory)) for word in front_door()["command"]]


def test_a_front_door_that_waits_for_ray_ends_when_it_is_told_to(tmp_path: Path) -> None:
    shell, *words = waiting_for_ray(tmp_path)
    # Told what it does, to know when it waits.
    process = subprocess.Popen([shell, "-x", *words], stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        assert any("sleep" in line for line in process.stderr)
        process.terminate()
        process.stderr.read()
    # By its own trap: what has none is not ended by SIGTERM where it is process 1.
    assert process.returncode == 143


@pytest.mark.ray
def test_a_front_door_is_told_which_ray_there_is(tmp_path: Path) -> None:
    (tmp_path / "ray_current_cluster").write_text("localhost:1")
    app, engine, *_ = front_door()["args"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*waiting_for_ray(tmp_path), app, engine],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 1
    assert "no Ray at localhost:1" in done.stderr


def test_all_of_ray_has_the_token_and_may_do_little_else() -> None:
    manifest = only(RAY_SERVICE, "RayService")
    auth = manifest["spec"]["rayClusterConfig"]["authOptions"]
    mode, token = front_door()["env"]
    assert (mode["name"], mode["value"]) == ("RAY_AUTH_MODE", auth["mode"])
    assert token["name"] == "RAY_AUTH_TOKEN"
    assert token["valueFrom"]["secretKeyRef"]["name"] == auth["secretName"]
    for template in templates(manifest):
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_only_the_front_doors_of_ray_are_open_to_all() -> None:
    policy = only(RAY_SERVICE, "NetworkPolicy")["spec"]
    closed = policy["podSelector"]["matchLabels"]
    for template in templates(only(RAY_SERVICE, "RayService")):
        assert closed.items() <= template["metadata"]["labels"].items()
    (to_all,) = (rule for rule in policy["ingress"] if "from" not in rule)
    ports = {port["name"] for port in front_door()["ports"]}
    assert {port["port"] for port in to_all["ports"]} == ports
    budget = only(RAY_SERVICE, "PodDisruptionBudget")["spec"]
    service = only(RAY_SERVICE, "Service")["spec"]
    assert budget["selector"]["matchLabels"] == service["selector"]
