"""How deep messages nest: protobuf's decoders refuse more than a hundred levels."""

from __future__ import annotations

from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from blazerpc_client.wire.errors import WireError

#: Messages inside the outermost one, at most. The default of protobuf's decoders in every language
#: (upb, C++: kDefaultRecursionLimit in io/coded_stream.h).
MAX_DEPTH: Final = 100

_TOO_DEEP: Final = f"nested deeper than the {MAX_DEPTH} levels that protobuf reads"


def is_recursive(descriptor: Descriptor) -> bool:
    """Return whether a message of this type can hold others to any depth."""
    open_types: list[str] = []
    finished: set[str] = set()

    def visit(message: Descriptor) -> bool:
        if message.full_name in open_types:
            return True
        if message.full_name in finished:
            return False
        open_types.append(message.full_name)
        inner = (field.message_type for field in message.fields if field.message_type is not None)
        found = any(map(visit, inner))
        finished.add(open_types.pop())
        return found

    return visit(descriptor)


def too_deep() -> WireError:
    """Return the error of a value that nests too deep."""
    return WireError(_TOO_DEEP)


def check_depth(message: Message) -> None:
    """Raise for a message that no decoder would read.

    Raises:
        WireError: when it nests too deep.
    """
    waiting = [(message, 0)]
    while waiting:
        outer, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise too_deep()
        for field, value in outer.ListFields():
            if field.message_type is None:
                continue
            if field.message_type.GetOptions().map_entry:
                if field.message_type.fields_by_name["value"].message_type is not None:
                    # The entry is a level of its own.
                    waiting += [(inner, depth + 2) for inner in value.values()]
            elif field.is_repeated:
                waiting += [(inner, depth + 1) for inner in value]
            else:
                waiting.append((value, depth + 1))
