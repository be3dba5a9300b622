"""Client classes as Python source: one method for each rpc."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blazerpc_client.codegen.layout import LINE_LENGTH, bracketed, docstring
from blazerpc_client.codegen.messages import Types
from blazerpc_client.codegen.scope import Scope
from blazerpc_client.naming import method_name
from blazerpc_client.specs import MethodSpec, ServiceSpec

_RUNTIME: Final = "blazerpc_client"
_MESSAGES: Final = ".messages"

#: By whether requests and results are streams: the class of the method, and what the client calls.
_SHAPES: Final = {
    (False, False): ("UnaryMethod", "_unary"),
    (False, True): ("StreamMethod", "_stream"),
    (True, False): ("ClientStreamMethod", "_client_stream"),
    (True, True): ("BidirectionalMethod", "_bidirectional"),
}


class ClientClass:
    """One client class.

    Args:
        spec: of the service.
        types: of the package.
        scope: of the module.
        prefix: whether other clients in the module may have methods of the same names.
        sync: whether its calls block.
    """

    def __init__(
        self, spec: ServiceSpec, types: Types, scope: Scope, *, prefix: bool, sync: bool = False
    ) -> None:
        name = types.class_name(spec.full_name)
        self.name: str = scope.free(f"Sync{name}") if sync else name
        self.documentation: str = (
            f"{'Blocking client' if sync else 'Client'} of ``{spec.full_name}``."
        )
        module, base = (f"{_RUNTIME}.sync", "Sync") if sync else (_RUNTIME, "")
        self.base: str = scope.member(module, f"{base}ServiceClient")
        # Between two names of one underscore each, two underscores cannot be misread.
        before = f"_{method_name(name)}__" if prefix else "_"
        self.methods: list[ClientMethod] = [
            ClientMethod.of(
                method, types, scope, f"{before}{method.python_name}".upper(), sync=sync
            )
            for method in spec.methods
        ]


@dataclass(frozen=True, slots=True)
class ClientMethod:
    """One method of a client class, as source: what is in the class, and its definition."""

    source: str
    definition: str

    @classmethod
    def of(
        cls, spec: MethodSpec, types: Types, scope: Scope, constant: str, *, sync: bool = False
    ) -> ClientMethod:
        """Return the source of a method, whose definition is the global name ``constant``."""
        scope.sibling(_MESSAGES, "SCHEMA")
        method = _Method(spec, types, scope, constant, "" if sync else "Async")
        documentation = docstring(_documentation(spec), indent=8)
        if spec.client_streaming:
            source = f"{method.of_requests()}\n{documentation}\n{method.stream_body()}"
        elif spec.model is not None:
            source = f"{method.of_fields()}\n{documentation}\n{method.body()}"
        else:
            overload = f"    @{scope.member('typing', 'overload')}\n"
            overloads = [method.of_message(), method.of_fields(ellipsis=True)]
            source = "".join(f"{overload}{text}\n\n" for text in overloads)
            source += f"{method.of_either()}\n{documentation}\n{method.body()}"
        return cls(source, method.definition())


class _Method:
    """The parts of a method; ``kind`` is ``Async``, or nothing when it blocks."""

    def __init__(
        self, spec: MethodSpec, types: Types, scope: Scope, constant: str, kind: str
    ) -> None:
        self._spec, self._types, self._scope, self._constant = spec, types, scope, constant
        self._kind = kind
        # A model's parameters are named as on the server, other fields as those of their messages.
        self._names: Mapping[str, str] = (
            {field.name: field.name for field in spec.request.fields}
            if spec.model is not None
            else types.attributes(spec.request)
        )
        locals_ = Scope(self._names.values())
        # A request may have a field called self; pyright takes no other name but private ones.
        self._receiver = "self" if locals_.free("self") == "self" else locals_.free("_self")
        self._message = locals_.free("request")
        self._result = self._result_type()

    def of_fields(self, *, ellipsis: bool = False) -> str:
        """Return the signature that takes the request's fields as keywords."""
        named_self = self._receiver == "self" and not ellipsis
        positional = [self._receiver] if named_self else [self._receiver, "/"]
        keywords = self._keywords(all_optional=False)
        return self._signature([*positional, *(["*"] if keywords else []), *keywords], ellipsis)

    def of_message(self) -> str:
        """Return the signature that takes the request."""
        return self._signature([self._receiver, f"{self._message}: {self._request}", "/"], True)

    def of_either(self) -> str:
        """Return the signature that takes both."""
        message = f"{self._message}: {self._request} | None = None"
        keywords = self._keywords(all_optional=True)
        return self._signature(
            [self._receiver, message, "/", *(["*"] if keywords else []), *keywords], False
        )

    def of_requests(self) -> str:
        """Return the signature that takes a stream of requests."""
        iterable = self._scope.member("collections.abc", f"{self._kind}Iterable")
        return self._signature(["self", f"requests: {iterable}[{self._request}]", "/"], False)

    def body(self) -> str:
        """Return the call of a method with one request."""
        arguments = [f'"{wire}": {name}' for wire, name in self._names.items()]
        after = "" if self._spec.model is not None else f", {self._message}"
        head = f"{' ' * 8}{self._call(self._receiver)}"
        line = f"{head}{self._constant}, {{{', '.join(arguments)}}}{after})"
        if len(line) <= LINE_LENGTH:
            return line
        # The layout of a call with a dict in it: the dict opens where its line has room for it.
        flat = f"{' ' * 12}{self._constant}, {{{', '.join(arguments)}}}{after}"
        if len(flat) <= LINE_LENGTH:
            return f"{head}\n{flat}\n{' ' * 8})"
        values = bracketed("{", arguments, "},", indent=12)
        last = f"\n{' ' * 12}{self._message}," if after else ""
        return f"{head}\n{' ' * 12}{self._constant},\n{values}{last}\n{' ' * 8})"

    def stream_body(self) -> str:
        """Return the call of a method with a stream of requests."""
        return bracketed(self._call("self"), [self._constant, "requests"], ")", indent=8)

    def definition(self) -> str:
        """Return the statement that makes the method's definition."""
        shape = self._scope.member(_RUNTIME, self._shape[0])
        takes = f"{self._request}, " if self._spec.client_streaming else ""
        head = f"{self._constant} = {shape}[{takes}{self._result}]("
        return bracketed(head, ["SCHEMA", f'"{self._spec.full_name}"'], ")")

    @property
    def _shape(self) -> tuple[str, str]:
        return _SHAPES[self._spec.client_streaming, self._spec.streaming]

    @property
    def _is_coroutine(self) -> bool:
        return bool(self._kind) and not self._spec.streaming

    @property
    def _request(self) -> str:
        return self._types.class_in(self._spec.request.full_name, self._scope, _MESSAGES)

    def _result_type(self) -> str:
        if self._spec.model is None:
            return self._types.class_in(self._spec.response.full_name, self._scope, _MESSAGES)
        result = self._spec.result
        kind = self._types.annotation(result, self._scope, _MESSAGES)
        return f"{kind} | None" if result.optional else kind

    def _keywords(self, *, all_optional: bool) -> list[str]:
        keywords = []
        for field in self._spec.request.fields:
            kind = self._types.annotation(field, self._scope, _MESSAGES)
            absent = "" if field.required and not all_optional else " | None = None"
            keywords.append(f"{self._names[field.name]}: {kind}{absent}")
        return keywords

    def _signature(self, parameters: list[str], ellipsis: bool) -> str:
        name, returns = self._spec.python_name, self._result
        if self._spec.streaming:
            iterator = self._scope.member("collections.abc", f"{self._kind}Iterator")
            returns = f"{iterator}[{returns}]"
        head = f"{'async ' * self._is_coroutine}def {name}("
        return bracketed(head, parameters, f") -> {returns}:{' ...' * ellipsis}", indent=4)

    def _call(self, receiver: str) -> str:
        return f"return {'await ' * self._is_coroutine}{receiver}.{self._shape[1]}("


def _documentation(spec: MethodSpec) -> str:
    """Return the model's documentation, and what its annotations cannot say."""
    if spec.model is None:
        return f"Call ``{spec.full_name}``."
    version = "" if spec.model.version == "1" else f", version {spec.model.version}"
    text = spec.model.doc.strip() or f"Call model {spec.model.name}{version}."
    if spec.idempotent:
        text += "\n\nIdempotent: made again when it fails with ``Unavailable``."
    fields = [*spec.request.fields, spec.result]
    tensors = [f"    {field.name}: {field.tensor}" for field in fields if field.tensor]
    defaults = [f"    {field.name}: {field.default}" for field in fields if field.default]
    sections = {"Tensors:": tensors, "The server's defaults:": defaults}
    for title, lines in sections.items():
        text += "".join(f"\n{line}" for line in ["", title, *lines]) if lines else ""
    return text
