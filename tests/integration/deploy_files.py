"""The files in deploy/, as values."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from tests.conftest import ROOT

DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = DEPLOY / "compose/compose.yaml"
DOCKERFILES: Final = sorted(DEPLOY.rglob("Dockerfile"))
RAY_SERVICE: Final = DEPLOY / "kuberay/rayservice.yaml"
ADAPTER: Final = DEPLOY / "kubernetes/prometheus-adapter.yaml"
KUSTOMIZATION: Final = DEPLOY / "kubernetes/kustomization.yaml"
MONITOR: Final = DEPLOY / "kubernetes/podmonitor.yaml"

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


def instructions(path: Path) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile, and what each says."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2]) for line in text.splitlines() if line]


def image_command() -> tuple[list[str], list[str]]:
    """Return what the image runs, and what its health check runs."""
    said = dict(instructions(DEPLOY / "Dockerfile"))
    health = said["HEALTHCHECK"].partition("CMD ")[2]
    return json.loads(said["ENTRYPOINT"]) + json.loads(said["CMD"]), json.loads(health)


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
