"""Whether the server still has the schema that a client was made from.

Asked at the first call of each connection: a server that was restarted may have another one.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import Literal
from weakref import WeakSet

from blazerpc_client.channel import Channel
from blazerpc_client.compare import Verdict, compare
from blazerpc_client.errors import FailedPrecondition, InvalidArgument, RpcError, response_checked
from blazerpc_client.options import CallOptions
from blazerpc_client.reflection import fetch_schema
from blazerpc_client.schema import Schema

#: What to do about a server whose schema breaks the client.
Verify = Literal["off", "warn", "error"]


class SchemaMismatchWarning(UserWarning):
    """The server's schema breaks the client, or cannot be read."""


class Verification:
    """The check of a channel's connections.

    Args:
        mode: ``"off"`` asks nothing, ``"warn"`` warns, ``"error"`` raises.

    Raises:
        InvalidArgument: for any other.
    """

    def __init__(self, mode: Verify) -> None:
        if mode not in ("off", "warn", "error"):
            raise InvalidArgument(f"verify: {mode!r} is not off, warn or error", field="verify")
        self._mode = mode
        self._checked: WeakSet[object] = WeakSet()
        self._lock = asyncio.Lock()

    async def check(self, channel: Channel, schema: Schema, options: CallOptions) -> None:
        """Compare ``schema`` with the server's, unless that was done on this connection.

        The call that follows has ``options``, and so has this: its metadata may be what lets it in.

        Raises:
            FailedPrecondition: when calls would fail, and the mode is ``"error"``.
            RpcError: when the server's schema cannot be read, likewise.
        """
        if self._mode == "off" or self._is_checked(channel):
            return
        async with self._lock:
            if self._is_checked(channel):
                return
            try:
                await channel.reachable(options)
                await _compare(channel, schema, options)
            except RpcError as error:
                if self._mode == "error":
                    raise
                warnings.warn(str(error), SchemaMismatchWarning, stacklevel=4)
            # Of several servers it was one that answered: those of one target have one schema.
            self._checked.update(channel.connections)

    def _is_checked(self, channel: Channel) -> bool:
        connections = channel.connections
        return bool(connections) and all(each in self._checked for each in connections)


async def _compare(channel: Channel, schema: Schema, options: CallOptions) -> None:
    with response_checked():
        served = await fetch_schema(channel, known=schema.services, options=options)
        changes = compare(schema, served)
    breaking = [change for change in changes if change.verdict is Verdict.BREAKING]
    if breaking:
        more = f", and {len(breaking) - 1} more" if len(breaking) > 1 else ""
        raise FailedPrecondition(
            f"{channel.target} has another schema than this client: {breaking[0].where}: "
            f"{breaking[0].what}{more}; generate the client again"
        )
