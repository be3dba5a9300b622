"""What classes and attributes of a generated package are called in Python.

Of BlazeRPC's own schemas nearly every name is as it is written there. Elsewhere a class may be
nested in another, have the name of a class in another package, or one that Python keeps to itself.
"""

from __future__ import annotations

import keyword
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from blazerpc_client.specs import EnumSpec, MessageSpec, ServiceSpec
from blazerpc_client.wire.messages import Message

#: Global names of the generated modules themselves.
_MODULE_NAMES: Final = frozenset({"SCHEMA"})

# A method of the base class would be hidden by a field of its name.
_HIDDEN: Final = frozenset(
    {name for name in dir(Message) if not name.startswith("__")}
    | {"_unknown_fields"}  # betterproto2 gives one to every message
)


def class_names(
    specs: Iterable[MessageSpec | EnumSpec], services: Sequence[ServiceSpec]
) -> dict[str, str]:
    """Return the names of all classes of a package, clients included, by full name.

    ``Outer.Inner`` is ``OuterInner``, or ``Outer_Inner`` where its package has the first already.
    Where two packages have one name, both get their packages'; of ``FooService`` and ``Foo`` the
    first is ``FooServiceClient`` then. A client keeps its name whatever else has it.
    """
    names = _client_names(services)
    clients = frozenset(names.values())
    short: dict[tuple[str, str], str] = {}  # by package and name
    for spec in sorted(specs, key=lambda spec: (spec.name.count("."), spec.full_name)):
        name = spec.name.replace(".", "")
        if (spec.package, name) in short:
            name = spec.name.replace(".", "_")
        short[spec.package, name] = spec.full_name
    uses = Counter(name for _, name in short)
    for (package, name), full_name in sorted(short.items(), key=lambda item: item[1]):
        shared = uses[name] > 1 or name in clients
        qualified = _camel_case(package) + name if shared else name
        names[full_name] = _free(qualified, {*names.values(), *_MODULE_NAMES})
    return names


def _client_names(services: Sequence[ServiceSpec]) -> dict[str, str]:
    """Return the names of the clients, by the full names of their services."""
    uses = Counter(service.client_name for service in services)
    names: dict[str, str] = {}
    for service in services:
        name = service.client_name
        if uses[name] > 1:
            name = f"{service.full_name.rpartition('.')[2]}Client"
        if name in names.values():
            name = _camel_case(service.package) + name
        names[service.full_name] = _free(name, {*names.values(), *_MODULE_NAMES})
    return names


def attribute_names(spec: MessageSpec, classes: Mapping[str, str]) -> dict[str, str]:
    """Return the attributes of a message by its fields' names on the wire.

    Args:
        spec: the message.
        classes: of the package, which an attribute must not hide from the annotations beside it.
    """
    hidden = _HIDDEN | set(classes.values())
    wire = {field.name for field in spec.fields}
    names: dict[str, str] = {}
    for name in wire:
        # Two underscores would make it private to the class.
        public = re.sub("^__+", "_", name)
        others = (wire - {name}) | set(names.values())
        names[name] = _free(public, hidden | others)
    return {field.name: names[field.name] for field in spec.fields}


def _free(name: str, taken: Iterable[str]) -> str:
    """Return ``name``, with underscores added until it is a name that is not taken."""
    taken = set(taken)
    while keyword.iskeyword(name) or name in taken:
        name += "_"
    return name


def _camel_case(package: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split("[._]", package))
