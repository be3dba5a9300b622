"""What another schema means for a client that was made from this one.

A request must stay one that the server takes, and a result one that the client knows: what widens
one narrows the other. So each message is compared in the direction that it travels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from blazerpc_client.dimensions import Dimensions, tensor_pairs
from blazerpc_client.schema import Schema
from blazerpc_client.specs import (
    EnumSpec,
    FieldSpec,
    MessageSpec,
    MethodSpec,
    ServiceSpec,
    service_spec,
    type_text,
)
from blazerpc_client.wire.tensors import TensorSpec, shape_text


class Verdict(StrEnum):
    """What a change means: calls as before, or calls that fail."""

    COMPATIBLE = "compatible"
    BREAKING = "breaking"


@dataclass(frozen=True, slots=True)
class Change:
    """A difference between two schemas.

    Attributes:
        verdict: what it means.
        where: service, rpc, message and field, as far as they apply.
        what: the change in words, old before new.
    """

    verdict: Verdict
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.verdict}: {self.where}: {self.what}"


def compare(old: Schema, new: Schema) -> list[Change]:
    """Return what differs for clients made from ``old`` that call a server of ``new``.

    Raises:
        WireError: when a schema has what this version cannot read.
    """
    changes: dict[Change, None] = {}  # a message may be reached in many ways
    for name in old.services:
        if name not in new.services:
            changes[_breaking(name, "the service is gone")] = None
            continue
        before, after = service_spec(old, name), service_spec(new, name)
        for change in _Comparison(before, after).changes():
            changes[change] = None
    # A type that both requests and results hold can be both: the worse verdict is the one to tell.
    worst = {(c.where, c.what) for c in changes if c.verdict is Verdict.BREAKING}
    return [
        change
        for change in changes
        if change.verdict is Verdict.BREAKING or (change.where, change.what) not in worst
    ]


def _breaking(where: str, what: str) -> Change:
    return Change(Verdict.BREAKING, where, what)


def _compatible(where: str, what: str) -> Change:
    return Change(Verdict.COMPATIBLE, where, what)


class _Comparison:
    """Of one service, before and after."""

    def __init__(self, old: ServiceSpec, new: ServiceSpec) -> None:
        self._old, self._new = old, new
        self._old_classes = {spec.full_name: spec for spec in old.classes}
        self._new_classes = {spec.full_name: spec for spec in new.classes}

    def changes(self) -> Iterator[Change]:
        after = {method.name: method for method in self._new.methods}
        for method in self._old.methods:
            where = f"{self._old.full_name}.{method.name}"
            if method.name not in after:
                yield _breaking(where, "the method is gone")
            else:
                yield from self._method(where, method, after[method.name])
        known = {method.name for method in self._old.methods}
        for name in [name for name in after if name not in known]:
            yield _compatible(f"{self._new.full_name}.{name}", "a new method")

    def _method(self, where: str, old: MethodSpec, new: MethodSpec) -> Iterator[Change]:
        if old.client_streaming != new.client_streaming:
            shapes = ("one request", "a stream of requests")
            before, now = shapes[old.client_streaming], shapes[new.client_streaming]
            yield _breaking(where, f"{before} → {now}")
        if old.streaming != new.streaming:
            now = "a stream" if new.streaming else "one result"
            yield _breaking(where, f"{'one result' if new.streaming else 'a stream'} → {now}")
        if old.idempotent != new.idempotent:
            # A client makes a call again that failed, by the schema that it was made from.
            change = _breaking if old.idempotent else _compatible
            words = ("is not", "is") if new.idempotent else ("is", "is not")
            yield change(where, f"{words[0]} idempotent → {words[1]}")
        classes = self._old_classes, self._new_classes
        dimensions = Dimensions(
            tensor_pairs(old.request, new.request, *classes),
            tensor_pairs(old.response, new.response, *classes),
        )
        sent = _Direction(*classes, dimensions, sent=True)
        yield from sent.message(old.request, new.request)
        received = _Direction(*classes, dimensions, sent=False)
        yield from received.message(old.response, new.response)


class _Direction:
    """Messages that a client sends, or that it receives.

    Args:
        old: classes before, by full name.
        new: classes after.
        dimensions: of the method's tensors.
        sent: whether the client sends them.
    """

    def __init__(
        self,
        old: dict[str, MessageSpec | EnumSpec],
        new: dict[str, MessageSpec | EnumSpec],
        dimensions: Dimensions,
        *,
        sent: bool,
    ) -> None:
        self._old, self._new = old, new
        self._dimensions = dimensions
        self._sent = sent
        self._seen: set[str] = set()
        self._outermost = ""

    def message(self, old: MessageSpec, new: MessageSpec) -> Iterator[Change]:
        """Yield the changes of a message and of all that it holds."""
        if old.full_name in self._seen:
            return
        if not self._seen:
            self._outermost = old.full_name
        self._seen.add(old.full_name)
        after = {field.name: field for field in new.fields}
        for field in old.fields:
            where = f"{old.full_name}.{field.name}"
            if field.name not in after:
                yield _breaking(where, "the field is gone")
            else:
                yield from self._field(where, field, after[field.name])
        known = {field.name for field in old.fields}
        for name, field in after.items():
            if name not in known:
                required = self._sent and field.required
                word = "a required" if required else "an optional" if self._sent else "a new"
                change = _breaking if required else _compatible
                yield change(f"{new.full_name}.{name}", f"{word} field was added")

    def _field(self, where: str, old: FieldSpec, new: FieldSpec) -> Iterator[Change]:
        if old.number != new.number:
            yield _breaking(where, f"number {old.number} → {new.number}")
        if _kind(old) != _kind(new):
            yield _breaking(where, f"{_told(old)} → {_told(new)}")
            return
        yield from self._presence(where, old, new)
        yield from self._oneof(where, old, new)
        yield from self._tensor(where, old.tensor, new.tensor)
        yield from self._values(where, "allowed value", old.allowed, new.allowed)
        if old.type_name:
            before, after = self._old[old.type_name], self._new[new.type_name]
            if before.name != after.name:
                yield _compatible(where, f"{before.name} is called {after.name}")
            if isinstance(before, MessageSpec) and isinstance(after, MessageSpec):
                yield from self.message(before, after)
            elif isinstance(before, EnumSpec) and isinstance(after, EnumSpec):
                yield from self._enum(before, after)

    def _presence(self, where: str, old: FieldSpec, new: FieldSpec) -> Iterator[Change]:
        if old.required != new.required:
            narrowed = new.required if self._sent else old.required
            words = ("required", "optional") if old.required else ("optional", "required")
            yield (_breaking if narrowed else _compatible)(where, " → ".join(words))
        elif old.default != new.default:
            yield self._default(where, old, new)
        elif old.optional != new.optional:
            # Only of other services. What was absent is zero now, or what was zero absent: another
            # thing to whoever reads it and makes a difference.
            harmless = new.optional and not self._sent
            words = ("optional", "always there") if old.optional else ("always there", "optional")
            yield (_compatible if harmless else _breaking)(where, " → ".join(words))

    def _default(self, where: str, old: FieldSpec, new: FieldSpec) -> Change:
        # A parameter's default is the server's to change. In a class, None is a value like others:
        # where it travels as absence, absence must not come to mean the default.
        of_class = not self._is_outermost(where)
        absent = old.default if self._sent else new.default
        change = _breaking if of_class and absent is None else _compatible
        return change(where, f"default {old.default} → {new.default}")

    def _is_outermost(self, where: str) -> bool:
        return where.rpartition(".")[0] == self._outermost

    def _oneof(self, where: str, old: FieldSpec, new: FieldSpec) -> Iterator[Change]:
        """Tell of a field that has come into a oneof, or out of one.

        Whoever sends several fields of what is a oneof to the reader loses all but the last.
        """
        if old.oneof != new.oneof and bool(old.oneof) != bool(new.oneof):
            loses = bool(new.oneof) if self._sent else bool(old.oneof)
            words = f"{old.oneof or 'no oneof'} → {new.oneof or 'no oneof'}"
            yield (_breaking if loses else _compatible)(where, words)

    def _tensor(
        self, where: str, old: TensorSpec | None, new: TensorSpec | None
    ) -> Iterator[Change]:
        if old is None or new is None:
            if old is not new:
                narrowed = old is None if self._sent else new is None
                what = f"{old or 'any array'} → {new or 'any array'}"
                yield (_breaking if narrowed else _compatible)(where, what)
            return
        if old.dtype != new.dtype:
            yield _breaking(where, f"{old} → {new}")
            return
        what = f"shape {shape_text(old.shape)} → {shape_text(new.shape)}"
        if len(old.shape) != len(new.shape) or self._dimensions.narrowed(where, sent=self._sent):
            yield _breaking(where, what)
        elif self._dimensions.widened(where, sent=self._sent):
            yield _compatible(where, what)

    def _enum(self, old: EnumSpec, new: EnumSpec) -> Iterator[Change]:
        before, after = dict(old.members), dict(new.members)
        for name in before:
            if before[name] != after.get(name, before[name]):
                where = f"{old.full_name}.{name}"
                yield _breaking(where, f"number {before[name]} → {after[name]}")
        # A value that a client has no name for reaches it as its number: that breaks nothing.
        for name in [name for name in before if name not in after]:
            change = _breaking if self._sent else _compatible
            yield change(f"{old.full_name}.{name}", "the value is gone")
        for name in [name for name in after if name not in before]:
            yield _compatible(f"{old.full_name}.{name}", "a new value")

    def _values(
        self, where: str, what: str, old: Iterable[str], new: Iterable[str]
    ) -> Iterator[Change]:
        before, after = set(old), set(new)
        if not before or not after:
            if before != after:
                narrowed = bool(after) if self._sent else bool(before)
                words = (
                    f"{what}s" if before else "any value",
                    f"{what}s" if after else "any value",
                )
                yield (_breaking if narrowed else _compatible)(where, " → ".join(words))
            return
        for value in sorted(before - after):
            yield (_breaking if self._sent else _compatible)(where, f'{what} "{value}" is gone')
        for value in sorted(after - before):
            yield (_compatible if self._sent else _breaking)(where, f'a new {what} "{value}"')


def _kind(field: FieldSpec) -> tuple[object, ...]:
    """Return what a field is on the wire, whatever values it allows."""
    return field.proto, field.key, field.repeated, str(field.element)


def _told(field: FieldSpec) -> str:
    # Two of protobuf's types can be one in Python: int64 and int32.
    return f"{type_text(field)} ({field.proto})"
