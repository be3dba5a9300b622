"""Regenerate the committed clients in stubs/, or check that they are what they would become."""

from __future__ import annotations

import asyncio
import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

from blazerpc.cli.client import generate_client

ROOT = Path(__file__).parent.parent
STUBS = ROOT / "stubs"

#: App to the package of its client.
APPS = {
    "examples.app:app": "inference_client",
    "examples.embeddings:app": "embeddings_client",
    "examples.onnx_digits:app": "onnx_digits_client",
    "examples.sklearn_wine:app": "sklearn_wine_client",
    "examples.torch_digits:app": "torch_digits_client",
    "tests.apps.rows:app": "rows_client",
    "benchmarks.sidebyside.app:app": "sidebyside_client",
}

#: A schema of somebody else's, and the package of its client, which can block too.
PROTO, OTHERS = "tests/protos/zoo.proto", "zoo_client"


def main(arguments: list[str]) -> int:
    """Write the clients, or with ``--check`` compare them; return 1 when one differs."""
    if arguments != ["--check"]:
        _generate(STUBS)
        return 0
    packages = [*APPS.values(), OTHERS]
    with tempfile.TemporaryDirectory() as directory:
        _generate(Path(directory))
        differing = [name for package in packages for name in _differing(directory, package)]
    for name in differing:
        print(f"stubs/{name} is not what its source gives; run `make stubs`", file=sys.stderr)
    return 1 if differing else 0


def _generate(directory: Path) -> None:
    for app, package in APPS.items():
        asyncio.run(generate_client(app, directory, package, ()))
    with tempfile.TemporaryDirectory() as scratch:
        schema = _compiled(PROTO, Path(scratch))
        asyncio.run(generate_client(schema, directory, OTHERS, (), sync=True))


def _compiled(proto: str, directory: Path) -> str:
    """Return the path of the descriptors of a .proto file and all that it imports."""
    output = directory / "schema.binpb"
    include = resources.files("grpc_tools").joinpath("_proto")
    paths = [f"-I{ROOT}", f"-I{include}"]
    options = ["--include_imports", f"--descriptor_set_out={output}"]
    if protoc.main(["protoc", *paths, *options, proto]) != 0:
        raise SystemExit(f"{proto} does not compile")
    return str(output)


def _differing(directory: str, package: str) -> list[str]:
    fresh, committed = Path(directory, package), STUBS / package
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*.*")}
    _, different, missing = filecmp.cmpfiles(fresh, committed, sorted(names), shallow=False)
    return [f"{package}/{name}" for name in (*different, *missing)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
