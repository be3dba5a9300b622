"""The lock file: numbers on the wire stay, whatever becomes of the source."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from blazerpc import BlazeApp, ConfigurationError, ServeOptions
from blazerpc.cli import export_proto
from blazerpc.codegen.lock import EMPTY, SchemaLock
from blazerpc.codegen.schema import build_schema, service_file
from tests.unit.blazerpc.support import client_of, define, running

PRELUDE = """
import dataclasses, enum
"""


def app_of(source: str) -> BlazeApp:
    app = BlazeApp()
    body = source if "def model" in source else f"def model{source}: return 0"
    app.model("m")(define(PRELUDE + body))
    return app


def export(source: str, directory: Path) -> str:
    """Return the .proto text of a model, after keeping the lock in ``directory``."""
    export_proto(app_of(source), directory, directory / "schema.lock")
    return (directory / "blaze_service.proto").read_text()


def numbers(source: str, directory: Path, message: str = "MRequest") -> dict[str, int]:
    lock = SchemaLock.read(directory / "schema.lock")
    file = service_file(app_of(source).registry, lock)
    (found,) = (m for m in file.message_type if m.name == message)
    return {field.name: field.number for field in found.field}


def test_the_order_of_parameters_does_not_matter(tmp_path: Path) -> None:
    export("(a: int, b: str) -> int", tmp_path)
    first = (tmp_path / "schema.lock").read_bytes()
    export("(b: str, a: int) -> int", tmp_path)
    assert (tmp_path / "schema.lock").read_bytes() == first
    assert numbers("(b: str, a: int) -> int", tmp_path) == {"b": 2, "a": 1}


def test_what_is_gone_is_reserved_and_what_is_new_gets_a_number_of_its_own(tmp_path: Path) -> None:
    export("(a: int, b: str) -> int", tmp_path)
    text = export("(a: int, c: str) -> int", tmp_path)
    assert '  reserved 2;\n  reserved "b";\n  int64 a = 1;\n  string c = 3;\n' in text
    # Back again, it is what it was.
    text = export("(b: str, a: int, c: str) -> int", tmp_path)
    assert "reserved" not in text
    assert numbers("(b: str, a: int, c: str) -> int", tmp_path) == {"b": 2, "a": 1, "c": 3}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("a: int", "a: str", "MRequest.a is string, and locked as int64"),
        ("a: int", "a: list[int]", "MRequest.a is repeated int64, and locked as int64"),
        (
            "a: dict[str, int]",
            "a: dict[int, int]",
            "MRequest.a is map<int64, int64>, and locked as map<string, int64>",
        ),
        (
            "a: TensorInput[np.int8, 'n']",
            "a: TensorInput[np.int16, 'n']",
            "MRequest.a is .blazerpc.TensorProto of int16, and locked as .blazerpc.TensorProto of",
        ),
    ],
)
def test_a_type_that_changed_is_refused_and_nothing_is_written(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    export(f"({old}) -> int", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    with pytest.raises(ConfigurationError) as caught:
        export(f"({new}) -> int", tmp_path)
    assert str(caught.value).startswith(told)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize("new", ["a: int = 3", "a: int | None"])
def test_a_default_changes_no_type(tmp_path: Path, new: str) -> None:
    export("(a: int) -> int", tmp_path)
    export(f"({new}) -> int", tmp_path)


def color(*members: str) -> str:
    body = "".join(f"    {member}\n" for member in members)
    return f"class Color(enum.Enum):\n{body}def model(c: Color) -> Color: return c\n"


def test_members_without_numbers_keep_those_they_got(tmp_path: Path) -> None:
    export(color("A = 'a'", "B = 'b'"), tmp_path)
    text = export(color("C = 'c'", "B = 'b'"), tmp_path)
    enum = text[text.index("enum Color") : text.index("message TensorProto")]
    assert enum.splitlines()[1:6] == [
        "  reserved 1;",
        '  reserved "COLOR_A";',
        "  COLOR_UNSPECIFIED = 0;",
        "  COLOR_C = 3;",
        "  COLOR_B = 2;",
    ]


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (("A = 2", "B = 1"), "Color.COLOR_A is 2, and locked as 1"),
        (("C = 1", "B = 2"), "Color.COLOR_C has the number of another, or of one gone"),
    ],
)
def test_members_with_numbers_cannot_change_them(
    tmp_path: Path, new: tuple[str, ...], told: str
) -> None:
    export(color("A = 1", "B = 2"), tmp_path)
    with pytest.raises(ConfigurationError, match=told):
        export(color(*new), tmp_path)


async def test_a_server_has_the_numbers_of_its_lock(tmp_path: Path) -> None:
    export(color("A = 'a'", "B = 'b'"), tmp_path)
    export(color("C = 'c'", "B = 'b'"), tmp_path)
    app = app_of(color("C = 'c'", "B = 'b'"))
    options = ServeOptions(port=0, lock=tmp_path / "schema.lock")
    async with running(app.server(options)) as run:
        assert await run.call("M", b"\x08\x03") == b"\x08\x03"
        assert "expected one of C, B; got 1" in (
            (await run.failure("M", b"\x08\x01")).message or ""
        )
    # Without it they are others.
    async with running(app.server(ServeOptions(port=0))) as run, client_of(app, run) as client:
        assert await client.predict("m", c="C") == "C"
        assert await run.call("M", b"\x08\x01") == b"\x08\x01"


def test_a_server_does_not_serve_what_its_lock_has_not(tmp_path: Path) -> None:
    export("(a: int) -> int", tmp_path)
    options = ServeOptions(lock=tmp_path / "schema.lock")
    app_of("(a: int) -> int").server(options)
    with pytest.raises(ConfigurationError, match="run blaze proto --lock, and commit the file"):
        app_of("(a: int, b: int) -> int").server(options)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"messages": 3, "enums": {}}', "no json"])
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schema.lock"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is no schema lock"):
        SchemaLock.read(path)


def test_the_file_is_for_people_too(tmp_path: Path) -> None:
    export("(a: int) -> int", tmp_path)
    data = json.loads((tmp_path / "schema.lock").read_text())
    assert data["messages"]["MRequest"] == {"a": {"number": 1, "type": "int64"}}
    assert "committed" in data["about"]


def test_protobufs_own_numbers_are_left_out(tmp_path: Path) -> None:
    app = app_of("(a: int, b: int) -> int")
    lock = EMPTY.apply(service_file(app_of("(a: int) -> int").registry))
    lock.write(tmp_path / "schema.lock")
    data = json.loads((tmp_path / "schema.lock").read_text())
    data["messages"]["MRequest"]["a"]["number"] = 18_999
    (tmp_path / "schema.lock").write_text(json.dumps(data))
    export_proto(app, tmp_path, tmp_path / "schema.lock")
    assert numbers("(a: int, b: int) -> int", tmp_path) == {"a": 18_999, "b": 20_000}
    build_schema(app.registry, SchemaLock.read(tmp_path / "schema.lock"))


@pytest.mark.parametrize(
    ("field", "number", "told"),
    [
        ("b", 1, r"MRequest\.a and MRequest\.b both have the number 1; take out the one"),
        ("a", 0, r"MRequest\.a has the number 0, which no field can have"),
        ("a", -1, r"MRequest\.a has the number -1,"),
        ("a", 19_500, r"MRequest\.a has the number 19500,"),
        ("a", 1 << 29, r"MRequest\.a has the number 536870912,"),
    ],
)
def test_numbers_that_cannot_be_are_told(
    field: str, number: int, told: str, tmp_path: Path
) -> None:
    # What a merge of two branches, or a hand, makes of it.
    export("(a: int, b: str) -> int", tmp_path)
    path = tmp_path / "schema.lock"
    data = json.loads(path.read_text())
    data["messages"]["MRequest"][field]["number"] = number
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigurationError, match=told):
        SchemaLock.read(path)


def test_a_lock_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    export("(a: int) -> int", tmp_path)
    assert sorted(file.name for file in tmp_path.glob("*lock*")) == ["schema.lock"]
    assert (tmp_path / "schema.lock").stat().st_mode & 0o777 == 0o644
