"""What docs/ray.md shows, on a real Ray."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import ROOT, StartServer
from tests.integration.conftest import blaze, on_ray
from tests.integration.ray_node import Node, directory, free_port
from tests.integration.test_docs import BLOCK, run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

PAGE = (ROOT / "docs/ray.md").read_text()


def test_the_code_of_the_page_runs_on_ray(
    start_server: StartServer, node: Node, tmp_path: Path
) -> None:
    app, client, from_python = BLOCK.findall(PAGE)
    (tmp_path / "app.py").write_text(app)
    server = on_ray(partial(start_server, directory=tmp_path), "app:app", node)
    done = blaze("client", "gen", "--from", server.target, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run(client.replace("localhost:50051", server.target), tmp_path)
    run(from_python, tmp_path)


def test_a_ray_is_started_as_the_page_says(
    start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = re.findall(r"^(export|ray|blaze) (.*?)(?: +#.*)?$", PAGE, flags=re.MULTILINE)
    (mode,) = [words for command, words in commands if command == "export"]
    make_token, head, *_ = [words.split() for command, words in commands if command == "ray"]
    for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(*mode.split("="))
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    subprocess.run([*ray, *make_token[:2]], check=True, capture_output=True)
    assert (tmp_path / ".ray/auth_token").exists()
    with directory() as path:
        # The last of two options of one name holds.
        node = Node(path, *head[1:], port=free_port())
        try:
            server = on_ray(start_server, "tests.apps.placed:small", node)
            assert blaze("health", server.target).returncode == 0
            assert server.stop()[0] == 0
        finally:
            node.kill()
