"""What ``blaze inspect`` found, as tables for a person and as JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import MethodDescriptor
from rich.table import Table
from rich.text import Text

from blazerpc.cli.inspect import Server, Service
from blazerpc.cli.text import printable
from blazerpc_client.specs import (
    EnumSpec,
    FieldSpec,
    MessageSpec,
    MethodSpec,
    ServiceSpec,
    model_name,
    parameter_text,
    result_text,
    signature,
    type_text,
)
from blazerpc_client.wire.dtypes import numpy_name

#: Found, as docs/cli.md describes it; no key is ever left out.
Json = dict[str, object]


def as_json(server: Server) -> str:
    """Return all that was found."""
    services = [_service(service) for service in server.services]
    found = {"target": server.target, "health": server.health, "services": services}
    return printable(json.dumps(found, ensure_ascii=False, indent=2))


def _service(service: Service) -> Json:
    specs = service.spec.methods if service.spec is not None else ()
    models = {spec.name: _model(service, spec) for spec in specs}
    return {
        "name": service.descriptor.full_name,
        "health": service.health,
        "methods": [
            {
                "name": method.name,
                "shape": _shape(method),
                "request": method.input_type.full_name,
                "response": method.output_type.full_name,
                "model": models.get(method.name),
            }
            for method in service.descriptor.methods
        ],
        "types": [_type(kind) for kind in _types(service.spec)],
    }


def _shape(method: MethodDescriptor) -> str:
    """Return which of the four shapes a call of the method has."""
    if method.client_streaming:
        return "bidirectional" if method.server_streaming else "client_stream"
    return "server_stream" if method.server_streaming else "unary"


def _model(service: Service, spec: MethodSpec) -> Json:
    assert spec.model is not None
    return {
        "name": spec.model.name,
        "version": spec.model.version,
        "health": service.models[model_name(spec.model)],
        "doc": spec.model.doc,
        "signature": signature(spec),
        "parameters": [_field(field) for field in spec.request.fields],
        "result": _field(spec.result),
    }


def _field(field: FieldSpec) -> Json:
    return {
        "name": field.name,
        "type": type_text(field),
        "dtype": numpy_name(field.tensor.dtype) if field.tensor is not None else None,
        "shape": list(field.tensor.shape) if field.tensor is not None else None,
        "required": field.required,
        "optional": field.optional,
        "default": _default(field),
        "allowed": list(field.allowed),
    }


def _default(field: FieldSpec) -> object:
    if field.default is None:
        return None
    try:
        # What JSON has no number for is its name: this is to be JSON again.
        value: object = json.loads(field.default, parse_constant=str)
    except (ValueError, RecursionError):  # another server's idea of JSON
        return field.default
    return value


def _types(spec: ServiceSpec | None) -> list[MessageSpec | EnumSpec]:
    """Return what models take and give, without the messages that carry it."""
    if spec is None:
        return []
    own = {
        message.full_name
        for method in spec.methods
        for message in (method.request, method.response)
    }
    return [kind for kind in spec.classes if kind.full_name not in own]


def _type(kind: MessageSpec | EnumSpec) -> Json:
    enum = isinstance(kind, EnumSpec)
    return {
        "name": kind.full_name,
        "kind": "enum" if enum else "message",
        "members": dict(kind.members) if isinstance(kind, EnumSpec) else None,
        "fields": [_field(f) for f in kind.fields] if isinstance(kind, MessageSpec) else None,
    }


def tables(server: Server) -> Iterator[Table | Text]:
    """Yield what shows a person all that was found."""
    yield _text(f"{server.target} {server.health or '(no health service)'}")
    if not server.services:
        yield _text("It has no services besides health and reflection.")
    for service in server.services:
        yield _methods(service) if service.spec is None else _models(service, service.spec)
        if types := _types(service.spec):
            yield _shown_types(types)


def _models(service: Service, spec: ServiceSpec) -> Table:
    table = _table(service, "model", "version", "health", "takes", "gives", "doc")
    for method in spec.methods:
        assert method.model is not None
        takes = ",\n".join(parameter_text(field) for field in method.request.fields)
        health = service.models[model_name(method.model)] or "-"
        model = method.model
        _add(table, model.name, model.version, health, takes, result_text(method), model.doc)
    return table


def _shown_types(types: Iterable[MessageSpec | EnumSpec]) -> Table:
    table = _table(None, "type", "made of")
    for kind in types:
        if isinstance(kind, EnumSpec):
            parts = [f"{name} = {number}" for name, number in kind.members]
        else:
            parts = [parameter_text(field) for field in kind.fields]
        _add(table, kind.name, ",\n".join(parts))
    return table


def _methods(service: Service) -> Table:
    table = _table(service, "method", "shape", "takes", "gives")
    for method in service.descriptor.methods:
        takes, gives = method.input_type.full_name, method.output_type.full_name
        _add(table, method.name, _shape(method).replace("_", " "), takes, gives)
    return table


def _table(service: Service | None, *columns: str) -> Table:
    title = None
    if service is not None:
        title = _text(f"{service.descriptor.full_name} {service.health or ''}".rstrip())
    table = Table(title=title, show_lines=True)
    for column in columns:
        table.add_column(column, overflow="fold")  # a name that is cut could not be called
    return table


def _add(table: Table, *cells: str) -> None:
    # As Text: to rich, the brackets of list[int] are markup.
    table.add_row(*map(_text, cells))


def _text(text: str) -> Text:
    return Text(printable(text))
