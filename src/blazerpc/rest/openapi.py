"""The OpenAPI document of a server: paths of its models, schemas made from their messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from blazerpc.codegen.schema import method_full_name
from blazerpc.oip.protocol import SCHEMA as OIP_SCHEMA
from blazerpc.runtime.model import ModelInfo
from blazerpc_client.schema import Schema
from blazerpc_client.wire.fields import is_map, is_required
from blazerpc_client.wire.options import read_allowed

Json = dict[str, Any]

_INT64: Final = {"oneOf": [{"type": "integer"}, {"type": "string", "pattern": "^-?[0-9]+$"}]}
_FLOAT: Final = {"oneOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}

#: Protobuf's JSON of each scalar: https://protobuf.dev/programming-guides/json/
_SCALARS: Final[Mapping[int, Json]] = {
    FieldDescriptor.TYPE_DOUBLE: _FLOAT,
    FieldDescriptor.TYPE_FLOAT: _FLOAT,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_UINT64: _INT64,
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}

_WELL_KNOWN: Final[Mapping[str, Json]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?s$"},
}


def document(models: Iterable[ModelInfo], schema: Schema, *, title: str, oip: bool) -> Json:
    """Return the OpenAPI document."""
    schemas = _Schemas()
    paths: Json = {}
    for model in models:
        method = schema.method(method_full_name(model))
        operation = _operation(
            model.rpc,
            model.doc,
            schemas.of(method.input_type),
            schemas.of(method.output_type),
            stream=model.streaming,
        )
        path = f"/v1/models/{model.name}/versions/{model.version}:predict"
        paths[path] = {"post": operation}
        if model.version == "1":
            short = {**operation, "operationId": f"{model.rpc}Default"}
            paths[f"/v1/models/{model.name}:predict"] = {"post": short}
    if oip:
        paths |= _oip_paths(schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": metadata.version("blazerpc")},
        "paths": paths,
        "components": {"schemas": {**schemas.known, "Error": _ERROR}},
    }


_ERROR: Final[Json] = {
    "type": "object",
    "required": ["error", "status"],
    "properties": {"error": {"type": "string"}, "status": {"type": "string"}},
}

_FAILURE: Final[Json] = {
    "description": "The call failed.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


#: One server-sent event of a stream; its data are the response, or an ``Error``.
_EVENT: Final[Json] = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "event": {"enum": ["message", "error", "end"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
}


def _operation(
    name: str, doc: str, takes: Json | None, gives: Json, *, stream: bool = False
) -> Json:
    kind = "text/event-stream" if stream else "application/json"
    content = {kind: {"schema": _EVENT if stream else gives}}
    operation: Json = {
        "operationId": name,
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "default": _FAILURE,
        },
    }
    if doc:
        operation["summary"], _, rest = doc.partition("\n")
        if rest.strip():
            operation["description"] = rest.strip()
    if takes is not None:
        body = {"application/json": {"schema": takes}}
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _oip_paths(schemas: _Schemas) -> Json:
    def message(name: str) -> Json:
        return schemas.of(OIP_SCHEMA.message(f"inference.{name}"))

    fixed = {
        "/v2": "ServerMetadata",
        "/v2/health/live": "ServerLive",
        "/v2/health/ready": "ServerReady",
    }
    paths: Json = {
        path: {"get": _operation(rpc, "", None, message(f"{rpc}Response"))}
        for path, rpc in fixed.items()
    }
    for suffix, parameters in (("", ["name"]), ("/versions/{version}", ["name", "version"])):
        base, ending = f"/v2/models/{{name}}{suffix}", "OfVersion" if suffix else ""
        given = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ]
        metadata_, ready = message("ModelMetadataResponse"), message("ModelReadyResponse")
        for path, operation in {
            base: {"get": _operation(f"ModelMetadata{ending}", "", None, metadata_)},
            f"{base}/ready": {"get": _operation(f"ModelReady{ending}", "", None, ready)},
            f"{base}/infer": {
                "post": _operation(f"ModelInfer{ending}", "", _INFER_REQUEST, _INFER_RESPONSE)
            },
        }.items():
            paths[path] = {"parameters": given, **operation}
    return paths


def _tensors(*, data: bool) -> Json:
    properties: Json = {
        "name": {"type": "string"},
        "datatype": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}},
    }
    required = ["name", "datatype", "shape", *(["data"] if data else [])]
    item = {"type": "object", "required": required, "properties": properties}
    return {"type": "array", "items": item}


_INFER_REQUEST: Final[Json] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": _tensors(data=False),
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
            },
        },
    },
}

_INFER_RESPONSE: Final[Json] = {
    "type": "object",
    "required": ["model_name", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "outputs": _tensors(data=False),
    },
}


class _Schemas:
    """JSON schemas of messages, by their full names."""

    def __init__(self) -> None:
        self.known: Json = {}

    def of(self, message: Descriptor) -> Json:
        """Return a reference to the schema of a message type, which is added with its parts."""
        if message.full_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[message.full_name])
        reference = {"$ref": f"#/components/schemas/{message.full_name}"}
        if message.full_name not in self.known:
            schema: Json = {}
            self.known[message.full_name] = schema  # before its parts: a type may hold itself
            schema |= {
                "type": "object",
                "additionalProperties": False,
                "properties": {field.name: self._field(field) for field in message.fields},
            }
            required = [field.name for field in message.fields if _needed(field)]
            if required:
                schema["required"] = required
        return reference

    def _field(self, field: FieldDescriptor) -> Json:
        if is_map(field):
            assert field.message_type is not None
            entry = field.message_type.fields_by_name["value"]
            return {"type": "object", "additionalProperties": self._value(entry)}
        value = self._value(field)
        return {"type": "array", "items": value} if field.is_repeated else value

    def _value(self, field: FieldDescriptor) -> Json:
        if field.message_type is not None:
            return self.of(field.message_type)
        if field.enum_type is not None:
            return {"type": "string", "enum": [value.name for value in field.enum_type.values]}
        allowed = read_allowed(field)
        return {"enum": list(allowed)} if allowed else dict(_SCALARS[field.type])


def _needed(field: FieldDescriptor) -> bool:
    """Return whether a message without the field is refused: others have a zero."""
    return field.message_type is not None and not field.is_repeated and is_required(field)
