"""Names that are imported when they are used are the names that type checkers see."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import blazerpc
import blazerpc.cli
import blazerpc_client

PACKAGES = [blazerpc, blazerpc.cli, blazerpc_client]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_a_type_checker_sees_the_same_names(package: object) -> None:
    tree = ast.parse(inspect.getsource(package))  # type: ignore[arg-type]  # a module
    imported = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "blazerpc_client.lazy"
        for alias in node.names
        if node.module != "typing"
    }
    assert sorted(imported) == package.__all__  # type: ignore[attr-defined]  # of a module
    for name, module in imported.items():
        assert getattr(package, name) is getattr(importlib.import_module(str(module)), name)
    assert set(imported) <= set(dir(package))


def test_a_module_is_an_attribute_and_nothing_else_is() -> None:
    code = (
        "import blazerpc, blazerpc_client\n"
        "assert blazerpc.types.DTYPE_MAP and blazerpc.server.GRPCServer and blazerpc.runtime\n"
        "assert blazerpc_client.errors.RpcError\n"
        "assert blazerpc.BlazeApp is blazerpc.app.BlazeApp\n"
        "try: blazerpc.nothing\n"
        "except AttributeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "module 'blazerpc' has no attribute 'nothing'\n"
