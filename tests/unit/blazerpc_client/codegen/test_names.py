"""Names in Python of classes and fields from schemas that never thought of Python."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from blazerpc_client.codegen.names import attribute_names, class_names
from blazerpc_client.schema import Schema
from blazerpc_client.specs import EnumSpec, MessageSpec, service_spec


def schema(package: str, text: str, service: str = "Foo") -> FileDescriptorProto:
    """Return a file with a service whose method takes and gives the message M."""
    file = FileDescriptorProto(name=f"{package or 'none'}.proto", package=package, syntax="proto3")
    text_format.Parse(text, file)
    message = f".{package}.M" if package else ".M"
    file.service.add(name=service).method.add(name="Go", input_type=message, output_type=message)
    return file


def one_field(kind: str, type_name: str) -> str:
    """Return a field of a class."""
    kind = f'type: {kind} type_name: "{type_name}"'
    return f'field {{ name: "x" number: 1 label: LABEL_OPTIONAL {kind} }}'


def names_of(*files: FileDescriptorProto) -> dict[str, str]:
    read = Schema(files)
    services = [service_spec(read, name) for name in read.services]
    specs = {spec.full_name: spec for service in services for spec in service.classes}
    return class_names(specs.values(), services)


def attributes_of(*fields: str) -> list[str]:
    parts = [
        f'field {{ name: "{name}" number: {number} type: TYPE_BOOL label: LABEL_OPTIONAL '
        f'json_name: "j{number}" }}'
        for number, name in enumerate(fields, 1)
    ]
    read = Schema([schema("a", f'message_type {{ name: "M" {" ".join(parts)} }}')])
    spec = service_spec(read, "a.Foo").methods[0].request
    names = attribute_names(spec, {"a.M": "M", "a.Foo": "FooClient"})
    assert list(names) == list(fields)
    return list(names.values())


def test_a_class_has_the_name_of_its_message() -> None:
    assert names_of(schema("a", 'message_type { name: "M" }')) == {
        "a.M": "M",
        "a.Foo": "FooClient",
    }


def test_a_class_without_a_package() -> None:
    assert names_of(schema("", 'message_type { name: "M" }')) == {"M": "M", "Foo": "FooClient"}


def test_a_nested_class_has_both_names() -> None:
    inner = (
        'field { name: "x" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".a.M.N" }'
    )
    text = f'message_type {{ name: "M" {inner} nested_type {{ name: "N" }} }}'
    assert names_of(schema("a", text))["a.M.N"] == "MN"


def test_a_name_that_two_packages_have_gets_the_package() -> None:
    message = 'message_type { name: "M" }'
    files = [schema("a.b_c", message), schema("d", message, "Other")]
    expected = {"a.b_c.M": "ABCM", "a.b_c.Foo": "FooClient", "d.M": "DM", "d.Other": "OtherClient"}
    assert names_of(*files) == expected
    assert names_of(*reversed(files)) == expected


def test_a_client_is_no_message() -> None:
    text = f'message_type {{ name: "M" {one_field("TYPE_MESSAGE", ".a.FooClient")} }}'
    text += 'message_type { name: "FooClient" }'
    names = names_of(schema("a", text))
    assert names == {"a.M": "M", "a.FooClient": "AFooClient", "a.Foo": "FooClient"}


def test_a_nested_class_gives_way_to_one_of_the_name() -> None:
    inner = one_field("TYPE_MESSAGE", ".a.M.N").replace("}", "} ")
    other = one_field("TYPE_MESSAGE", ".a.MN").replace('"x" number: 1', '"y" number: 2')
    text = f'message_type {{ name: "M" {inner} {other} nested_type {{ name: "N" }} }}'
    names = names_of(schema("a", text + 'message_type { name: "MN" }'))
    assert (names["a.M.N"], names["a.MN"]) == ("M_N", "MN")


def test_two_services_whose_clients_would_be_one() -> None:
    file = schema("a", 'message_type { name: "M" }')
    other = file.service.add(name="FooService")
    other.method.extend(file.service[0].method)
    names = names_of(file)
    assert (names["a.Foo"], names["a.FooService"]) == ("FooClient", "FooServiceClient")


@pytest.mark.parametrize("name", ["None", "class", "SCHEMA"])
def test_a_class_has_a_name_that_the_module_has_not(name: str) -> None:
    text = 'message_type { name: "M" field { name: "x" number: 1 type: TYPE_MESSAGE'
    text += f' label: LABEL_OPTIONAL type_name: ".a.{name}" }} }} message_type {{ name: "{name}" }}'
    assert names_of(schema("a", text))[f"a.{name}"] == f"{name}_"


def test_fields_that_a_message_class_cannot_have() -> None:
    assert attributes_of("x", "from", "load", "to_dict", "_x", "M", "FooClient", "self") == [
        "x",
        "from_",
        "load_",
        "to_dict_",
        "_x",
        "M_",
        "FooClient_",
        "self",
    ]


def test_fields_whose_other_names_are_taken() -> None:
    assert attributes_of("from", "from_", "load_", "load") == ["from__", "from_", "load_", "load__"]
    names = attributes_of("__x", "_x", "___x")
    assert len(set(names)) == 3
    assert not any(name.startswith("__") for name in names)


def test_the_names_of_an_enum_lose_what_they_repeat_unless_they_would_be_one() -> None:
    def members(*values: str) -> list[str]:
        numbered = "".join(f'value {{ name: "{v}" number: {n} }}' for n, v in enumerate(values))
        text = (
            f'enum_type {{ name: "Kind" {numbered} }} message_type {{ name: "M" field {{ name: "x"'
        )
        text += ' number: 1 type: TYPE_ENUM label: LABEL_OPTIONAL type_name: ".a.Kind" } }'
        spec = service_spec(Schema([schema("a", text)]), "a.Foo")
        (enum,) = [kind for kind in spec.classes if isinstance(kind, EnumSpec)]
        assert [number for _, number in enum.members] == list(range(len(values)))
        return [name for name, _ in enum.members]

    assert members("KIND_A", "KIND_B", "C") == ["A", "B", "C"]
    assert members("KIND_A", "KIND_1") == ["A", "KIND_1"]
    assert members("KIND_A", "A") == ["KIND_A", "A"]


def test_a_type_of_the_package_is_told_from_one_within_another() -> None:
    inner = one_field("TYPE_MESSAGE", ".a.M.N")
    text = f'message_type {{ name: "M" nested_type {{ name: "N" }} {inner} }}'
    spec = service_spec(Schema([schema("a", text)]), "a.Foo")
    assert [kind.name for kind in spec.classes if isinstance(kind, MessageSpec)] == ["M", "M.N"]
