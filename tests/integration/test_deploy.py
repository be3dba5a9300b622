"""The files in deploy/: by their schemas, against each other, and by what they start.

Neither Docker nor Kubernetes is needed: the commands that they would run are run here.
"""

from __future__ import annotations

import copy
import json
import re
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Final

import jsonschema
import kubernetes_validate
import promql_parser
import pytest
import yaml

from blazerpc.supervisor.slot import MARGIN
from blazerpc_client.transport.limits import Limits
from tests.conftest import ROOT, StartServer
from tests.integration.conftest import blaze
from tests.integration.deploy_files import (
    ADAPTER,
    COMPOSE,
    DEPLOY,
    DOCKERFILES,
    KUSTOMIZATION,
    MONITOR,
    RAY_SERVICE,
    Object,
    commands,
    image_command,
    instructions,
    objects,
    only,
    option,
    templates,
)

MANIFESTS: Final = [
    path
    for path in [*sorted((DEPLOY / "kubernetes").glob("*.yaml")), RAY_SERVICE]
    if path not in (ADAPTER, KUSTOMIZATION)
]
KUBERNETES: Final = "1.33"

#: Seconds between the last that a server may need to end, and SIGKILL.
SPARE: Final = 10


def check(manifest: Object) -> None:
    """Check an object by its schema; those of KubeRay hold pods, which have one of Kubernetes."""
    schema = ROOT / f"tests/schemas/{manifest['kind'].lower()}.json"
    if not schema.exists():
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        return
    validator = jsonschema.Draft202012Validator
    jsonschema.validate(manifest, json.loads(schema.read_text()), validator)
    if manifest["kind"] != "RayService":
        return
    yaml.safe_load(manifest["spec"]["serveConfigV2"])
    for template in templates(manifest):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
        pod |= copy.deepcopy(template)
        pod["metadata"] = {"name": "pod", **template.get("metadata", {})}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_what_kubernetes_takes(path: Path) -> None:
    for manifest in objects(path):
        check(manifest)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_name_that_is_misspelt_is_found(path: Path) -> None:
    for manifest in objects(path):
        manifest["spec"]["replica"] = 3
        with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
            check(manifest)


def test_a_name_that_is_misspelt_in_a_ray_pod_is_found() -> None:
    manifest = only(RAY_SERVICE, "RayService")
    list(templates(manifest))[1]["spec"]["containers"][1]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessProb"):
        check(manifest)


def test_the_kustomization_names_every_manifest_that_every_cluster_takes() -> None:
    listed = yaml.safe_load(KUSTOMIZATION.read_text())["resources"]
    own = [path.name for path in MANIFESTS if path.parent.name == "kubernetes" and path != MONITOR]
    assert sorted(listed) == own


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_dockerfiles_pass_hadolint(path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_what_an_image_copies_is_sent_to_the_build(path: Path) -> None:
    sent = path.with_name("Dockerfile.dockerignore").read_text().splitlines()
    copies = [said for name, said in instructions(path) if name == "COPY"]
    sources = {word for said in copies if "--from" not in said for word in said.split()[:-1]}
    sources = {source for source in sources if not source.startswith("--")}
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert f"!{source}" in sent


def test_where_to_name_an_app_of_ones_own_is_said() -> None:
    said = (DEPLOY / "README.md").read_text().partition("For an app of your own")[2]
    said = said.partition("\n\n")[0]
    named = {
        path.name
        for path in DEPLOY.rglob("*")
        if path.is_file() and path.name != "README.md" and "examples" in path.read_text()
    }
    assert named == set(re.findall(r"`([\w.]*(?:Dockerfile|\.yaml)[\w.]*)`", said))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_images_do_not_run_as_root(path: Path) -> None:
    assert [said for name, said in instructions(path) if name == "USER"][-1] not in ("root", "0")


def test_the_image_serves_is_healthy_and_drains(start_server: StartServer) -> None:
    (program, command, app, *options), health = image_command()
    assert (program, command) == ("blaze", "serve")
    # On this machine's own address, at ports that are free.
    here = {"0.0.0.0": "127.0.0.1", "50051": "0", "9090": "0"}
    server = start_server(app, *(here.get(word, word) for word in options))
    done = blaze(*(word.replace("127.0.0.1:50051", server.target) for word in health[1:]))
    assert (done.returncode, done.stdout) == (0, "SERVING\n")
    server.signal(signal.SIGTERM)
    assert server.wait()[0] == 0


def test_the_compose_file_is_what_compose_takes() -> None:
    done = compose_check(COMPOSE)
    assert done.returncode == 0, done.stdout


def test_a_compose_file_with_a_misspelt_name_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text().replace("stop_grace_period", "stop_grace"))
    assert compose_check(wrong).returncode == 1


def compose_check(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", path],
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_compose_mounts_is_there() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    volumes = [volume for each in services.values() for volume in each.get("volumes", [])]
    sources = [volume.partition(":")[0] for volume in volumes if volume.startswith(".")]
    assert len(sources) == 4
    assert all((COMPOSE.parent / source).exists() for source in sources)
    (board,) = yaml.safe_load((COMPOSE.parent / "grafana/dashboards/blazerpc.yaml").read_text())[
        "providers"
    ]
    assert f"../grafana:{board['options']['path']}:ro" in volumes


@pytest.mark.parametrize("place", ["Dockerfile", "deployment.yaml", "rayservice.yaml"])
def test_the_options_are_those_of_blaze_serve(place: str) -> None:
    known = set(re.findall(r"--[a-z][a-z-]*", blaze("serve", "--help").stdout))
    used = {word.partition("=")[0] for word in commands()[place] if word.startswith("--")}
    assert {"--host", "--port", "--grace", "--metrics-port"} <= used
    assert used <= known
    limits = [word.split("=")[1] for word in commands()[place] if word.startswith("--limit=")]
    assert set(limits) <= {field.name for field in fields(Limits)}
    assert bool(limits) == (place != "Dockerfile")


@pytest.mark.parametrize("path", [DEPLOY / "kubernetes/deployment.yaml", RAY_SERVICE])
def test_a_pod_is_not_killed_while_it_drains(path: Path) -> None:
    template = list(templates(objects(path)[0]))[-1]
    words = commands()[path.name]
    server = template["spec"]["containers"][-1]
    sleep = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    drained = sleep + float(option(words, "--grace"))
    assert template["spec"]["terminationGracePeriodSeconds"] == drained + MARGIN + SPARE
    for other in template["spec"]["containers"][:-1]:
        # What the models run in goes after those who call it.
        assert other["lifecycle"]["preStop"]["sleep"]["seconds"] > drained


def test_compose_does_not_kill_the_server_while_it_drains() -> None:
    stop = yaml.safe_load(COMPOSE.read_text())["services"]["app"]["stop_grace_period"]
    grace = float(option(image_command()[0], "--grace"))
    assert promql_parser.parse_duration(stop).total_seconds() == grace + MARGIN + SPARE


@pytest.mark.parametrize("path", [DEPLOY / "kubernetes/deployment.yaml", RAY_SERVICE])
def test_probes_and_services_meet_the_server(path: Path) -> None:
    template = list(templates(objects(path)[0]))[-1]
    server = template["spec"]["containers"][-1]
    words = commands()[path.name]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert str(ports["grpc"]) == option(words, "--port")
    assert str(ports["blaze-metrics"]) == option(words, "--metrics-port")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        (port,) = {check["port"] for check in server[probe].values() if isinstance(check, dict)}
        assert port == ports["grpc"]
    service = DEPLOY / "kubernetes/service.yaml" if path != RAY_SERVICE else RAY_SERVICE
    spec = only(service, "Service")["spec"]
    assert {port["targetPort"] for port in spec["ports"]} == set(ports)
    assert spec["selector"].items() <= template["metadata"]["labels"].items()


def test_threads_are_as_many_as_the_cores_that_are_requested() -> None:
    (template,) = templates(only(DEPLOY / "kubernetes/deployment.yaml", "Deployment"))
    (server,) = template["spec"]["containers"]
    threads = {each["value"] for each in server["env"] if each["name"].endswith("_NUM_THREADS")}
    assert threads == {server["resources"]["requests"]["cpu"]}


def test_images_have_a_tag_that_says_which_build() -> None:
    (image,) = yaml.safe_load(KUSTOMIZATION.read_text())["images"]
    (template,) = templates(only(DEPLOY / "kubernetes/deployment.yaml", "Deployment"))
    assert [each["image"] for each in template["spec"]["containers"]] == [image["name"]]
    ray = [
        container["image"]
        for template in templates(only(RAY_SERVICE, "RayService"))
        for container in template["spec"]["containers"]
    ]
    (of_all,) = set(ray)
    assert image["newTag"]
    assert of_all.partition(":")[2] not in ("", "latest")


def test_pods_are_spread_over_nodes_and_zones() -> None:
    (template,) = templates(only(DEPLOY / "kubernetes/deployment.yaml", "Deployment"))
    spread = template["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    }
    for each in spread:
        assert each["labelSelector"]["matchLabels"] == template["metadata"]["labels"]


def test_the_probe_with_tls_has_options_that_there_are() -> None:
    text = (DEPLOY / "README.md").read_text().partition("```yaml\nreadinessProbe")[2]
    probe = yaml.safe_load("readinessProbe" + text.partition("```")[0])["readinessProbe"]
    program, command, _, *options = probe["exec"]["command"]
    assert (program, command) == ("blaze", "health")
    used = {word for word in options if word.startswith("--")}
    assert used == {"--ca", "--server-name"}
    assert used <= set(re.findall(r"--[a-z-]+", blaze("health", "--help").stdout))
    container = {"name": "server", "image": "app:1", "readinessProbe": probe}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}}
    kubernetes_validate.validate(pod | {"spec": {"containers": [container]}}, KUBERNETES, True)


def test_the_budget_and_the_autoscaler_are_of_the_deployment() -> None:
    deployment = only(DEPLOY / "kubernetes/deployment.yaml", "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    budget = only(DEPLOY / "kubernetes/disruption.yaml", "PodDisruptionBudget")
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    scaled = only(DEPLOY / "kubernetes/autoscaler.yaml", "HorizontalPodAutoscaler")["spec"]
    target = scaled["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_every_file_is_checked() -> None:
    checked = {
        *MANIFESTS,
        *DOCKERFILES,
        *(path.with_name("Dockerfile.dockerignore") for path in DOCKERFILES),
        *(ADAPTER, KUSTOMIZATION, COMPOSE, DEPLOY / "README.md", DEPLOY / "grafana/blazerpc.json"),
        *(COMPOSE.parent / name for name in ("prometheus.yml", "alerts.yml")),
        *(COMPOSE.parent / "grafana").rglob("*.yaml"),
    }
    assert checked == {path for path in DEPLOY.rglob("*") if path.is_file()}
