"""What a schema says of a service, as plain values: what the generator writes, and clients list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from blazerpc_client.naming import (
    MESSAGE_NAMES,
    client_name,
    is_parameter_name,
    method_name,
)
from blazerpc_client.schema import RESULT, Schema
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import is_map, is_optional, is_own, is_required
from blazerpc_client.wire.large import TENSOR_MESSAGE
from blazerpc_client.wire.options import (
    ModelOptions,
    is_idempotent,
    read_allowed,
    read_default,
    read_model,
    read_tensor,
)
from blazerpc_client.wire.scalars import SCALARS
from blazerpc_client.wire.tensors import TensorSpec
from blazerpc_client.wire.values import (
    DURATION_MESSAGE,
    TIMESTAMP_MESSAGE,
    WRAPPERS,
    enum_members,
)

#: Messages that are a plain value in Python.
_VALUES: Final[dict[str, type[object]]] = {
    TENSOR_MESSAGE: np.ndarray[Any, Any],
    TIMESTAMP_MESSAGE: datetime,
    DURATION_MESSAGE: timedelta,
    **{name: scalar.python for name, scalar in WRAPPERS.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldSpec:
    """A field of a message. Of a map, all but ``key`` is said of its values.

    Attributes:
        name: on the wire and in Python.
        number: on the wire.
        proto: protobuf's name of the type; ``message`` and ``enum`` for any of these.
        element: the Python type of one value: ``int``, ``float``, ``str``, ``bool``, ``bytes``,
            ``ndarray``, ``datetime``, ``timedelta``; ``object`` for the class ``type_name``.
        type_name: the full name of a message or enum that is a class of its own, else "".
        key: protobuf's name of the type of a map's keys, "" when the field is no map.
        repeated: whether the field is a list.
        optional: whether it may be absent, which is None.
        required: whether it must be given. What is neither has a default: the schema's, a zero, or
            an empty list.
        oneof: of the fields of that name only one is there, "" when it does not apply.
        default: what the server takes then, as JSON; None when the schema does not say.
        tensor: the declared tensor type, when the field is a tensor and the schema declares one.
        allowed: what a string may be; empty when it may be anything.
    """

    name: str
    number: int
    proto: str
    element: type[object]
    type_name: str
    key: str
    repeated: bool
    optional: bool
    required: bool
    oneof: str
    default: str | None
    tensor: TensorSpec | None
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumSpec:
    """An enum: its package, its name in there, its full name, its members' names and numbers."""

    package: str
    name: str
    full_name: str
    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSpec:
    """A message type: its package, its name in there, its full name, its fields by number."""

    package: str
    name: str
    full_name: str
    fields: tuple[FieldSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSpec:
    """A method of a service.

    Attributes:
        name: of the rpc.
        python_name: of the client's method.
        full_name: package, service and rpc, joined by dots.
        model: which model answers, and its documentation; None when it is no BlazeRPC server's.
        client_streaming: whether requests go as a stream.
        streaming: whether results come as a stream.
        idempotent: whether a call that may have run can be made again.
        request: its fields are the model's parameters.
        response: of a model, its one field is the result.
    """

    name: str
    python_name: str
    full_name: str
    model: ModelOptions | None
    client_streaming: bool
    streaming: bool
    idempotent: bool
    request: MessageSpec
    response: MessageSpec

    @property
    def result(self) -> FieldSpec:
        """The field that holds the result."""
        return self.response.fields[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """A service.

    Attributes:
        package: that it is in.
        full_name: of the service.
        client_name: of its client class.
        methods: in order.
        classes: all messages and enums that the methods take and give, in the order of their use.
    """

    package: str
    full_name: str
    client_name: str
    methods: tuple[MethodSpec, ...]
    classes: tuple[MessageSpec | EnumSpec, ...]


def service_spec(schema: Schema, full_name: str) -> ServiceSpec:
    """Return what ``schema`` says of a service.

    Raises:
        WireError: when it has kinds of fields that this version does not know, or methods whose
            names are one name in Python.
    """
    descriptor = schema.service(full_name)
    methods = tuple(method_spec(method) for method in descriptor.methods)
    seen: dict[str, str] = {}
    for method in methods:
        other = seen.setdefault(method.python_name, method.name)
        if other != method.name:
            raise WireError(
                f"{other} and {method.name} would both be the client's {method.python_name}()",
                field=full_name,
            )
    classes = tuple(
        _enum_spec(kind) if isinstance(kind, EnumDescriptor) else _message_spec(kind)
        for kind in _classes(descriptor)
    )
    return ServiceSpec(
        package=descriptor.file.package,
        full_name=full_name,
        client_name=client_name(full_name),
        methods=methods,
        classes=classes,
    )


def method_spec(method: MethodDescriptor) -> MethodSpec:
    """Return what a schema says of a method.

    Raises:
        WireError: when it takes or gives what this version does not know.
    """
    model = read_model(method)
    response = _message_spec(method.output_type)
    one_result = [field.name for field in response.fields] == [RESULT]
    if model is not None and (not one_result or method.client_streaming):
        raise WireError("not a method of a BlazeRPC server", field=method.full_name)
    return MethodSpec(
        name=method.name,
        python_name=method_name(method.name),
        full_name=method.full_name,
        model=model,
        client_streaming=method.client_streaming,
        streaming=method.server_streaming,
        idempotent=is_idempotent(method),
        request=_message_spec(method.input_type),
        response=response,
    )


def type_text(field: FieldSpec) -> str:
    """Return the type of a field as one tells it to a person: ``list[float32 (n,)]``."""
    if field.tensor is not None:
        text = str(field.tensor)
    elif field.allowed:
        text = " | ".join(f'"{value}"' for value in field.allowed)
    elif field.type_name:
        text = field.type_name.rpartition(".")[2]
    else:
        text = field.element.__name__
    if field.key:
        return f"dict[{'str' if field.key == 'string' else 'int'}, {text}]"
    return f"list[{text}]" if field.repeated else text


def signature(method: MethodSpec) -> str:
    """Return how a model is called: ``digits:2(x: float32 (batch, 64)) -> float64 (batch, 10)``."""
    assert method.model is not None
    parameters = ", ".join(parameter_text(field) for field in method.request.fields)
    return f"{model_name(method.model)}({parameters}) -> {result_text(method)}"


def parameter_text(field: FieldSpec) -> str:
    """Return a parameter as one writes it: ``top_k: int = 5``, and ``= ...`` for a zero."""
    default = ""
    if field.default is not None:
        default = f" = {field.default}"
    elif field.optional:
        default = " | None = None"
    elif not field.required:
        default = " = ..."
    return f"{field.name}: {type_text(field)}{default}"


def result_text(method: MethodSpec) -> str:
    """Return what a model gives: ``stream of str``."""
    result = type_text(method.result) + (" | None" if method.result.optional else "")
    return f"stream of {result}" if method.streaming else result


def model_name(model: ModelOptions) -> str:
    """Return the name that calls a model: ``digits``, and ``digits:2`` for its version 2."""
    return model.name if model.version == "1" else f"{model.name}:{model.version}"


def models_of(schema: Schema) -> dict[str, MethodSpec]:
    """Return the methods of all models by name and version, ``digits:1`` for one.

    Raises:
        WireError: as ``service_spec`` does.
    """
    return {
        f"{method.model.name}:{method.model.version}": method
        for service in schema.services
        if is_blazerpc(schema.service(service))
        for method in service_spec(schema, service).methods
        if method.model is not None
    }


def is_blazerpc(service: ServiceDescriptor) -> bool:
    """Return whether every method of the service says which model it calls."""
    return bool(service.methods) and all(
        read_model(method) is not None for method in service.methods
    )


def _classes(service: ServiceDescriptor) -> Iterator[Descriptor | EnumDescriptor]:
    """Yield each message and enum that the service's methods take and give, once."""
    seen: set[str] = set()
    waiting: list[Descriptor | EnumDescriptor] = []
    for method in service.methods:
        waiting += [method.input_type, method.output_type]
    while waiting:
        kind = waiting.pop(0)
        if kind.full_name in seen:
            continue
        seen.add(kind.full_name)
        yield kind
        if isinstance(kind, Descriptor):
            waiting += [inner for field in kind.fields for inner in _class_of(field)]


def _class_of(field: FieldDescriptor) -> Iterator[Descriptor | EnumDescriptor]:
    value = _value_field(field)
    if value.enum_type is not None:
        yield value.enum_type
    elif value.message_type is not None and value.message_type.full_name not in _VALUES:
        yield value.message_type


def _value_field(field: FieldDescriptor) -> FieldDescriptor:
    """Return the field that says what one value is: of a map, that of its entries."""
    if not is_map(field):
        return field
    assert field.message_type is not None
    return field.message_type.fields_by_name["value"]


def _message_spec(message: Descriptor) -> MessageSpec:
    return MessageSpec(
        package=message.file.package,
        name=_name(message),
        full_name=message.full_name,
        fields=tuple(_field_spec(field) for field in message.fields),
    )


def _enum_spec(enum: EnumDescriptor) -> EnumSpec:
    return EnumSpec(
        package=enum.file.package,
        name=_name(enum),
        full_name=enum.full_name,
        members=tuple(enum_members(enum).items()),
    )


def _name(kind: Descriptor | EnumDescriptor) -> str:
    """Return the name in the package: of a type inside another, both names."""
    return kind.full_name.removeprefix(f"{kind.file.package}.")


def _field_spec(field: FieldDescriptor) -> FieldSpec:
    value = _value_field(field)
    if field.name in MESSAGE_NAMES or (is_own(field) and not is_parameter_name(field.name)):
        raise WireError("Python cannot have a parameter of this name", field=field.full_name)
    scalar = SCALARS.get(value.type)
    kind = value.enum_type or value.message_type
    if scalar is None and kind is None:
        raise WireError("a field of this kind is not supported", field=field.full_name)
    oneof = field.containing_oneof
    type_name = kind.full_name if kind is not None and kind.full_name not in _VALUES else ""
    key = ""
    if value is not field:
        assert field.message_type is not None
        key = SCALARS[field.message_type.fields_by_name["key"].type].name
    return FieldSpec(
        name=field.name,
        number=field.number,
        proto=scalar.name if scalar else "enum" if value.enum_type else "message",
        element=scalar.python if scalar else _VALUES.get(kind.full_name if kind else "", object),
        type_name=type_name,
        key=key,
        repeated=field.is_repeated and not key,
        optional=is_optional(field),
        required=is_required(field),
        oneof=oneof.name if oneof is not None and len(oneof.fields) > 1 else "",
        default=read_default(field),
        tensor=_tensor(field) if kind is not None else None,
        allowed=read_allowed(field),
    )


def _tensor(field: FieldDescriptor) -> TensorSpec | None:
    try:
        return read_tensor(field)
    except WireError as error:
        raise error.at(field.full_name) from None
