from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from blazerpc_client.codegen import generate, write_package
from blazerpc_client.codegen.layout import bracketed, docstring, import_from
from blazerpc_client.codegen.scope import Scope
from tests.unit.blazerpc_client.packages import import_client
from tests.unit.blazerpc_client.schemas import Model, spec_of, tensor

DOCS = [
    "Plain.",
    'Ends with a quote "',
    "Ends with a backslash \\",
    '"""quotes""" inside',
    r"back\slashes \n \x41 \N{DASH}",
    "{{ braces }} {% set x = 1 %} {# comment #}",
    "several\n\n    lines\n\twith a tab",
    "\x00 \x1b[31m \x7f \u2028 \u202e",
    "模型 🙂",
    "x" * 200,
    "   \n  ",
    '"',
    "\\",
    '"""\nimport os; os.abort()\n"""',
]
# What a body of a class or of a method uses itself.
NAMES = ["self", "list", "str", "np", "npt", "field", "Message", "SCHEMA", "AsyncIterator", "print"]


def hostile() -> list[Model]:
    return [
        Model(
            stem=f"Doc{number}",
            name=f"doc{number}",
            doc=doc,
            streaming=number % 2 == 0,
            parameters=dict.fromkeys(NAMES[: number + 1], "repeated string"),
            result=tensor("f4", "a_long_dimension", "another_long_dimension", 100_000),
        )
        for number, doc in enumerate(DOCS)
    ]


def test_what_is_written_is_python_as_ruff_would_format_it(tmp_path: Path) -> None:
    schema, spec = spec_of(*hostile())
    write_package(tmp_path / "package", generate(schema, [spec]))
    command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_documentation_reaches_the_client_as_it_was_written(tmp_path: Path) -> None:
    client = import_client(tmp_path, *hostile()).InferenceClient
    for number, doc in enumerate(DOCS):
        first = (getattr(client, f"predict_doc{number}").__doc__ or "").splitlines()[0]
        expected = doc.strip().splitlines()[0] if doc.strip() else f"Call model doc{number}."
        if expected.isprintable():
            assert first.strip() == expected


def test_documentation_is_no_code(tmp_path: Path) -> None:
    schema, spec = spec_of(*hostile())
    tree = ast.parse(generate(schema, [spec])["client.py"])
    kinds = {type(node) for node in tree.body}
    assert kinds <= {ast.Expr, ast.ImportFrom, ast.Import, ast.ClassDef, ast.Assign}
    names = {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert "os" not in names


def test_the_same_schema_gives_the_same_bytes() -> None:
    schema, spec = spec_of(*hostile())
    assert generate(schema, [spec]) == generate(schema, [spec])


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], "f()"),
        (["a", "b=1"], "f(a, b=1)"),
        (["a" * 50, "b" * 50], f"f(\n    {'a' * 50},\n    {'b' * 50},\n)"),
    ],
)
def test_brackets_break_where_the_line_is_full(items: list[str], expected: str) -> None:
    assert bracketed("f(", items, ")") == expected


def test_an_import_breaks_where_the_line_is_full() -> None:
    assert import_from("a", ["b", "c"]) == "from a import b, c"
    assert import_from("a", ["b" * 80, "c"]) == f"from a import (\n    {'b' * 80},\n    c,\n)"


@pytest.mark.parametrize("doc", [doc for doc in DOCS if doc.strip()])
def test_a_docstring_evaluates_to_what_it_was_made_of(doc: str) -> None:
    value = ast.literal_eval(docstring(doc, indent=0))
    assert value.split() == doc.split()


def test_a_scope_avoids_what_is_taken() -> None:
    scope = Scope(["list", "np", "Thing"])
    assert scope.builtin("list") == "builtins.list"
    assert scope.builtin("str") == "str"
    assert scope.module("numpy", "np") == "np_"
    assert scope.member("things", "Thing") == "Thing_"
    assert scope.member("things", "Other") == "Other"
    assert scope.imports() == (
        "import builtins\n\nimport numpy as np_\nfrom things import Other, Thing as Thing_"
    )
