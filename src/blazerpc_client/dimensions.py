"""Which sizes of a call's tensors are fixed or agree, before and after a change of the schema.

A symbolic name means nothing but that the sizes which have it agree within a call. So two schemas
are compared by what they demand of every size and of every two: another name for all of them is no
difference at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from blazerpc_client.specs import EnumSpec, MessageSpec
from blazerpc_client.wire.tensors import TensorSpec

Classes = Mapping[str, MessageSpec | EnumSpec]


@dataclass(frozen=True, slots=True)
class TensorPair:
    """A tensor that a call has before and after, of one rank; ``where`` is its field."""

    where: str
    old: TensorSpec
    new: TensorSpec


def tensor_pairs(
    old: MessageSpec, new: MessageSpec, old_classes: Classes, new_classes: Classes
) -> list[TensorPair]:
    """Return the tensors that two versions of a message have in common, at any depth."""
    return list(_pairs(old, new, old_classes, new_classes, set()))


def _pairs(
    old: MessageSpec,
    new: MessageSpec,
    old_classes: Classes,
    new_classes: Classes,
    seen: set[str],
) -> Iterator[TensorPair]:
    if old.full_name in seen:
        return
    seen.add(old.full_name)
    after = {field.name: field for field in new.fields}
    for field in old.fields:
        other = after.get(field.name)
        if other is None:
            continue
        if field.tensor is not None and other.tensor is not None:
            if len(field.tensor.shape) == len(other.tensor.shape):
                where = f"{old.full_name}.{field.name}"
                yield TensorPair(where, field.tensor, other.tensor)
            continue
        before, now = old_classes.get(field.type_name), new_classes.get(other.type_name)
        if isinstance(before, MessageSpec) and isinstance(now, MessageSpec):
            yield from _pairs(before, now, old_classes, new_classes, seen)


@dataclass(frozen=True, slots=True)
class _Size:
    """One dimension of one tensor, before and after."""

    where: str
    old: int | str
    new: int | str


class Dimensions:
    """The sizes of one method's tensors.

    Args:
        sent: the tensors of the request, in both versions.
        received: those of the answer.
    """

    def __init__(self, sent: Iterable[TensorPair], received: Iterable[TensorPair]) -> None:
        self._sent = list(_sizes(sent))
        self._received = list(_sizes(received))

    def narrowed(self, where: str, *, sent: bool) -> bool:
        """Return whether a tensor has to be, or may be, what it could not be before.

        A server must not demand more of what is sent; of what it answers, it must not promise less.
        """
        if sent:
            return self._demands_more(where, self._sent, self._sent, before=False)
        return self._demands_more(
            where, self._received, [*self._sent, *self._received], before=True
        )

    def widened(self, where: str, *, sent: bool) -> bool:
        """Return the opposite of ``narrowed``: both can be, and neither."""
        if sent:
            return self._demands_more(where, self._sent, self._sent, before=True)
        return self._demands_more(
            where, self._received, [*self._sent, *self._received], before=False
        )

    @staticmethod
    def _demands_more(
        where: str, sizes: Iterable[_Size], others: Iterable[_Size], *, before: bool
    ) -> bool:
        """Return whether one version demands of a tensor what the other does not.

        Args:
            where: the tensor.
            sizes: those it is among.
            others: that they may have to agree with.
            before: whether it is the old version that demands more.
        """
        others = list(others)
        for size in sizes:
            if size.where != where:
                continue
            strict, free = (size.old, size.new) if before else (size.new, size.old)
            if isinstance(strict, int) and free != strict:
                return True
            for other in others:
                strict_other, free_other = (
                    (other.old, other.new) if before else (other.new, other.old)
                )
                if strict == strict_other and free != free_other:
                    return True
        return False


def _sizes(pairs: Iterable[TensorPair]) -> Iterator[_Size]:
    for pair in pairs:
        for old, new in zip(pair.old.shape, pair.new.shape, strict=True):
            yield _Size(pair.where, old, new)
