from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import blazerpc
import blazerpc_client

ROOT = Path(__file__).parents[3]
DOCS = "".join(
    (ROOT / name).read_text()
    for name in (
        "README.md",
        "docs/client.md",
        "docs/connections.md",
        "docs/ray.md",
        "docs/server.md",
        "docs/security.md",
    )
)


@pytest.mark.parametrize("module", ["blazerpc_client", "inference_client"])
def test_a_client_loads_nothing_of_the_server_or_the_command_line(module: str) -> None:
    # Every name, since a name is loaded when it is used.
    code = (
        f"from {module} import *; import sys; loaded = {{m.partition('.')[0] for m in sys.modules}}"
        "; print(*loaded & "
        "{'typer', 'jinja2', 'blazerpc', 'rich', 'prometheus_client', 'uvloop'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "stubs")},
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", [blazerpc, blazerpc_client], ids=lambda p: p.__name__)
def test_every_public_name_is_there(package: object) -> None:
    names = package.__all__  # type: ignore[attr-defined]  # of a module
    assert names == sorted(names)
    for name in names:
        assert hasattr(package, name)


# Statuses of the errors are a table of gRPC's, not documented one by one.
UNDOCUMENTED = {error.__name__ for error in blazerpc_client.RpcError.__subclasses__()}


@pytest.mark.parametrize("name", sorted({*blazerpc.__all__, *blazerpc_client.__all__}))
def test_every_public_name_is_in_the_documentation(name: str) -> None:
    assert name in DOCS or name in UNDOCUMENTED
