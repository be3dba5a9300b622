"""The files in deploy/: by their schemas, against each other, and by what they start.

Neither Docker nor Kubernetes is needed: the commands that they would run are run here.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from blazerpc.server import MetricsMiddleware
from blazerpc.supervisor.metrics import WorkerMetrics
from blazerpc.supervisor.slot import MARGIN
from tests.conftest import ROOT, StartServer
from tests.integration.conftest import blaze

DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose/compose.yaml"
DOCKERFILES: Final = sorted(DEPLOY.rglob("Dockerfile"))
RAY_SERVICE: Final = DEPLOY / "kuberay/rayservice.yaml"
ADAPTER: Final = DEPLOY / "kubernetes/prometheus-adapter.yaml"
KUSTOMIZATION: Final = DEPLOY / "kubernetes/kustomization.yaml"
MONITOR: Final = DEPLOY / "kubernetes/podmonitor.yaml"
MANIFESTS: Final = [
    path
    for path in [*sorted((DEPLOY / "kubernetes").glob("*.yaml")), RAY_SERVICE]
    if path not in (ADAPTER, KUSTOMIZATION)
]
KUBERNETES: Final = "1.33"

#: Seconds between the last that a server may need to end, and SIGKILL.
SPARE: Final = 10

Object = dict[str, Any]


def objects(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text()))


def only(path: Path, kind: str) -> Object:
    (found,) = (each for each in objects(path) if each["kind"] == kind)
    return found


def templates(manifest: Object) -> Iterator[Object]:
    """Yield the pod templates of an object."""
    if manifest["kind"] == "Deployment":
        yield manifest["spec"]["template"]
    if manifest["kind"] == "RayService":
        cluster = manifest["spec"]["rayClusterConfig"]
        yield cluster["headGroupSpec"]["template"]
        yield from (group["template"] for group in cluster["workerGroupSpecs"])


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


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, and what each says."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


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


def image_command() -> tuple[list[str], list[str]]:
    """Return what the image runs, and what its health check runs."""
    said = dict(instructions(DEPLOY / "Dockerfile"))
    health = said["HEALTHCHECK"].partition("CMD ")[2]
    return json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"]), json.loads(health)


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


def test_compose_reads_the_metrics_where_they_are() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    (job,) = yaml.safe_load((COMPOSE.parent / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in services
    assert option(image_command()[0], "--metrics-port") == port
    datasources = COMPOSE.parent / "grafana/datasources/prometheus.yaml"
    (source,) = yaml.safe_load(datasources.read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def option(words: Sequence[str], name: str) -> str:
    """Return the value of an option, written as one word or as two."""
    text = " ".join(words).replace("=", " ").split()
    return text[text.index(name) + 1]


def commands() -> dict[str, list[str]]:
    """Return every ``blaze serve`` in deploy/: by where it is, its words."""
    found = {"Dockerfile": image_command()[0]}
    for path in (DEPLOY / "kubernetes/deployment.yaml", RAY_SERVICE):
        for template in templates(objects(path)[0]):
            for container in template["spec"]["containers"]:
                words = [*container.get("command", []), *container.get("args", [])]
                if "blaze" in " ".join(words):
                    script = [shlex.split(word) for word in words]
                    found[path.name] = [word for part in script for word in part]
    return found


@pytest.mark.parametrize("place", ["Dockerfile", "deployment.yaml", "rayservice.yaml"])
def test_the_options_are_those_of_blaze_serve(place: str) -> None:
    known = set(re.findall(r"--[a-z][a-z-]*", blaze("serve", "--help").stdout))
    used = {word.partition("=")[0] for word in commands()[place] if word.startswith("--")}
    assert {"--host", "--port", "--grace", "--metrics-port"} <= used
    assert used <= known


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


def test_the_autoscaler_asks_for_what_the_adapter_has() -> None:
    scaled = only(DEPLOY / "kubernetes/autoscaler.yaml", "HorizontalPodAutoscaler")["spec"]
    (metric,) = scaled["metrics"]
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    assert rule["name"]["as"] == metric["pods"]["metric"]["name"]
    assert set(rule["resources"]["overrides"]) == {"namespace", "pod"}


def test_the_monitor_reads_what_the_adapter_asks_for() -> None:
    spec = only(MONITOR, "PodMonitor")["spec"]
    (selected,) = spec["selector"]["matchExpressions"]
    (endpoint,) = spec["podMetricsEndpoints"]
    for path in (DEPLOY / "kubernetes/deployment.yaml", RAY_SERVICE):
        template = list(templates(objects(path)[0]))[-1]
        assert template["metadata"]["labels"][selected["key"]] in selected["values"]
        server = template["spec"]["containers"][-1]
        assert endpoint["port"] in [port["name"] for port in server["ports"]]
    interval = promql_parser.parse_duration(endpoint["interval"])
    ranges = set(re.findall(r"\[(\w+)\]", queries()["adapter"]))
    assert ranges
    assert all(promql_parser.parse_duration(each) >= 4 * interval for each in ranges)


def queries() -> dict[str, str]:
    """Return every query for Prometheus in deploy/, by where it is."""
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod")
    found = {
        "adapter": query.replace("<<.LabelMatchers>>", 'namespace="default",pod=~"a|b"'),
        "series": rule["seriesQuery"],
    }
    (found["target"],) = re.findall(
        r"```promql\n(.*?)\n```", (DEPLOY / "README.md").read_text(), flags=re.DOTALL
    )
    for group in yaml.safe_load((COMPOSE.parent / "alerts.yml").read_text())["groups"]:
        found |= {rule["alert"]: rule["expr"] for rule in group["rules"]}
    return found


@pytest.mark.parametrize(("place", "query"), queries().items())
def test_queries_are_of_metrics_that_there_are(place: str, query: str, tmp_path: Path) -> None:
    promql_parser.parse(query)  # raises for what is no PromQL
    used = set(re.findall(r"\bblazerpc_\w+|\bup\b", query))
    assert used, place
    assert used <= {"up", *metric_names(tmp_path)}, place


def test_an_alert_of_a_server_that_is_down_is_of_the_job_that_reads_it() -> None:
    (job,) = yaml.safe_load((COMPOSE.parent / "prometheus.yml").read_text())["scrape_configs"]
    assert f'up{{job="{job["job_name"]}"}}' in queries()["BlazeRPCIsDown"]


def test_calls_that_find_no_ray_are_calls_that_fail() -> None:
    statuses = re.search(r'status=~"([\w|]+)"', queries()["BlazeRPCFails"])
    assert statuses is not None
    assert set(statuses[1].split("|")) == {"INTERNAL", "UNKNOWN", "UNAVAILABLE"}


def metric_names(directory: Path) -> set[str]:
    """Return the names of the series that a server of several processes has."""
    registry = CollectorRegistry()
    MetricsMiddleware(registry)
    suffixes = {"histogram": ["_bucket", "_count", "_sum"], "counter": ["_total"]}
    return {
        family.name + suffix
        for family in [*registry.collect(), *WorkerMetrics(str(directory)).collect()]
        for suffix in suffixes.get(family.type, [""])
    }


def test_alerts_are_what_prometheus_takes() -> None:
    said = yaml.safe_load((COMPOSE.parent / "alerts.yml").read_text())
    assert set(said) == {"groups"}
    for group in said["groups"]:
        assert set(group) == {"name", "rules"}
        for rule in group["rules"]:
            assert (
                {"alert", "expr"} <= set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            )
            if "for" in rule:
                promql_parser.parse_duration(rule["for"])


def test_prometheus_is_told_what_it_takes() -> None:
    said: Mapping[str, Any] = yaml.safe_load((COMPOSE.parent / "prometheus.yml").read_text())
    assert set(said) == {"global", "rule_files", "scrape_configs"}
    for duration in said["global"].values():
        promql_parser.parse_duration(duration)
    volumes = yaml.safe_load(COMPOSE.read_text())["services"]["prometheus"]["volumes"]
    assert all(any(f":{path}:ro" in volume for volume in volumes) for path in said["rule_files"])


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
