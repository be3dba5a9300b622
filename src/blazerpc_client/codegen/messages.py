"""Messages and enums as Python source."""

from __future__ import annotations

import json
import keyword
import math
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np

from blazerpc_client.codegen.layout import bracketed
from blazerpc_client.codegen.names import attribute_names
from blazerpc_client.codegen.scope import Scope
from blazerpc_client.specs import EnumSpec, FieldSpec, MessageSpec
from blazerpc_client.wire.messages import Enum
from blazerpc_client.wire.tensors import TensorSpec

_RUNTIME: Final = "blazerpc_client.wire.messages"


class Types:
    """The Python types of fields.

    Args:
        specs: all messages and enums of the package, by full name.
        names: of their classes, likewise.
    """

    def __init__(
        self, specs: Mapping[str, MessageSpec | EnumSpec], names: Mapping[str, str]
    ) -> None:
        self._specs = specs
        self._names = names

    def annotation(self, field: FieldSpec, scope: Scope, module: str | None) -> str:
        """Return the type of a field, and import into ``scope`` what it takes.

        Args:
            field: whose type it is; whether it is optional is left to the caller.
            scope: of the module where it stands.
            module: that the classes are imported from, None when they are defined there.
        """
        text = self._value(field, scope, module)
        if field.key:
            key = "str" if field.key == "string" else "bool" if field.key == "bool" else "int"
            return f"{scope.builtin('dict')}[{scope.builtin(key)}, {text}]"
        return f"{scope.builtin('list')}[{text}]" if field.repeated else text

    def class_name(self, full_name: str) -> str:
        """Return the name of the class of a message or enum."""
        return self._names[full_name]

    def zero(self, enum: str) -> str:
        """Return the member of an enum that a field has which is not given."""
        spec = self._specs[enum]
        assert isinstance(spec, EnumSpec)
        return next(name for name, number in spec.members if number == 0)

    def attributes(self, spec: MessageSpec) -> dict[str, str]:
        """Return the attributes of a message by its fields' names on the wire."""
        return attribute_names(spec, self._names)

    def class_in(self, full_name: str, scope: Scope, module: str | None) -> str:
        """Return the name of a class, imported into ``scope`` from ``module`` if there is one."""
        name = self.class_name(full_name)
        return name if module is None else scope.sibling(module, name)

    def _value(self, field: FieldSpec, scope: Scope, module: str | None) -> str:
        if field.type_name:
            return self.class_in(field.type_name, scope, module)
        if field.element == np.ndarray[Any, Any]:
            return f"{scope.module('numpy.typing', 'npt')}.NDArray[{_element(field.tensor, scope)}]"
        if field.element in (datetime, timedelta):
            return f"{scope.module('datetime')}.{field.element.__name__}"
        if field.allowed:
            values = ", ".join(map(source, field.allowed))
            return f"{scope.member('typing', 'Literal')}[{values}]"
        return scope.builtin(field.element.__name__)


def source(value: str | bytes) -> str:
    """Return a literal as ``ruff format`` writes it: in double quotes, but to escape less."""
    text = ascii(value) if isinstance(value, bytes) else repr(value)
    prefix = "b" if isinstance(value, bytes) else ""
    body = text[len(prefix) + 1 : -1]
    if text.endswith("'") and '"' not in body:
        return prefix + '"' + body.replace("\\'", "'") + '"'
    return text


def _element(tensor: TensorSpec | None, scope: Scope) -> str:
    if tensor is None or tensor.dtype.type.__module__ != "numpy":
        # To a type checker ml_dtypes.bfloat16 is a value, and no type.
        return f"{scope.module('numpy', 'np')}.generic"
    scalar = tensor.dtype.type
    # numpy.bool is NumPy 2's name only; numpy.bool_ is that of every version.
    return f"{scope.module('numpy', 'np')}.{'bool_' if scalar is np.bool_ else scalar.__name__}"


@dataclass(frozen=True, slots=True)
class EnumClass:
    """One enum."""

    name: str
    full_name: str
    base: str
    members: list[str]

    # A member must not hide what every enum has; dir() of an enum does not say all of it.
    _hidden = frozenset().union(*map(vars, Enum.__mro__)) | {"mro"}

    @classmethod
    def of(cls, spec: EnumSpec, types: Types, scope: Scope) -> EnumClass:
        """Return the source of an enum."""
        members = [f"{cls.member(name)} = {number}" for name, number in spec.members]
        return cls(
            types.class_name(spec.full_name),
            spec.full_name,
            scope.member(_RUNTIME, "Enum"),
            members,
        )

    @classmethod
    def member(cls, name: str) -> str:
        """Return the attribute of a member."""
        return f"{name}_" if name in cls._hidden or keyword.iskeyword(name) else name


@dataclass(frozen=True, slots=True)
class MessageClass:
    """One message class."""

    name: str
    full_name: str
    base: str
    fields: list[str]

    @classmethod
    def of(cls, spec: MessageSpec, types: Types, scope: Scope) -> MessageClass:
        """Return the source of a message."""
        names = types.attributes(spec)
        fields = [cls._field(field, names[field.name], types, scope) for field in spec.fields]
        name = types.class_name(spec.full_name)
        return cls(name, spec.full_name, scope.member(_RUNTIME, "Message"), fields)

    @classmethod
    def _field(cls, field: FieldSpec, name: str, types: Types, scope: Scope) -> str:
        kind = types.annotation(field, scope, None)
        items = [str(field.number), f'"{field.proto}"']
        if field.key:
            items.append(f'key="{field.key}"')
        if field.repeated:
            items.append("repeated=True")
        if field.optional:
            items.append("optional=True")
        if field.oneof:
            items.append(f'oneof="{field.oneof}"')
        default = _default(field, types, scope)
        if default is not None:
            items.append(default)
        if default == "default=None":
            kind += " | None"
        head = f"{name}: {kind} = {scope.member(_RUNTIME, 'field')}("
        return bracketed(head, items, ")", indent=4)


def _default(field: FieldSpec, types: Types, scope: Scope) -> str | None:
    """Return the argument that gives a field its default, None when it has none."""
    if field.required:
        return None
    if field.key or field.repeated:
        return f"default_factory={scope.builtin('dict' if field.key else 'list')}"
    if field.optional and field.default is None:
        return "default=None"
    if field.default is None:
        return f"default={_zero(field, types)}"
    return f"default={_default_value(field, json.loads(field.default), types, scope)}"


def _zero(field: FieldSpec, types: Types) -> str:
    """Return the value of a field that is not given and has no presence."""
    if field.type_name:
        return (
            f"{types.class_name(field.type_name)}.{EnumClass.member(types.zero(field.type_name))}"
        )
    return {int: "0", float: "0.0", bool: "False", str: '""', bytes: 'b""'}[field.element]


def _default_value(field: FieldSpec, value: Any, types: Types, scope: Scope) -> str:
    if field.proto == "enum":
        return f"{types.class_name(field.type_name)}.{EnumClass.member(value)}"
    if field.element is datetime:
        return f"{scope.module('datetime')}.datetime.fromisoformat({source(value)})"
    if field.element is timedelta:
        return f"{scope.module('datetime')}.timedelta({_duration(value)})"
    if field.element is bytes:
        return source(b64decode(value))
    if field.element is float:
        number = float(value)
        return (
            repr(number) if math.isfinite(number) else f"{scope.builtin('float')}({source(value)})"
        )
    return source(value) if isinstance(value, str) else repr(value)


def _duration(value: str) -> str:
    """Return the arguments of ``timedelta`` for what protobuf's JSON has: ``1.5s``."""
    microseconds = int(Decimal(value.removesuffix("s")) * 1_000_000)
    seconds, rest = divmod(microseconds, 1_000_000)
    parts = {"seconds": seconds, "microseconds": rest}
    return ", ".join(f"{unit}={number}" for unit, number in parts.items() if number) or "0"
