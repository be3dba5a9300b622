"""What Prometheus is told in deploy/, and what is asked of it there: alerts, and the autoscaler."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from blazerpc.server import MetricsMiddleware
from blazerpc.supervisor.metrics import WorkerMetrics
from tests.integration.deploy_files import (
    ADAPTER,
    COMPOSE,
    DEPLOY,
    MONITOR,
    RAY_SERVICE,
    image_command,
    objects,
    only,
    option,
    templates,
)


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
