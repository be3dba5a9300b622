"""grpclib's events of a server, made and told for less: two of them come with every call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpclib.const import Status
from grpclib.events import RecvRequest, SendTrailingMetadata, _DispatchServerEvents, _Event
from grpclib.metadata import Deadline, _Metadata
from grpclib.protocol import Peer

if TYPE_CHECKING:
    from grpclib._typing import IServerMethodFunc

# An event refuses to be changed where a listener may not; this is how grpclib fills it, too.
_set = object.__setattr__


class ServerEvents(_DispatchServerEvents):
    """What ``grpclib.events.listen`` adds listeners to, and what calls tell."""

    async def recv_request(
        self,
        metadata: _Metadata,
        method_func: IServerMethodFunc,
        *,
        method_name: str,
        deadline: Deadline | None,
        content_type: str,
        user_agent: str | None,
        peer: Peer,
    ) -> tuple[_Metadata, IServerMethodFunc]:
        """Tell of a call that begins; return what the listeners have made of it."""
        event = RecvRequest.__new__(RecvRequest)
        _set(event, "metadata", metadata)
        _set(event, "method_func", method_func)
        _set(event, "method_name", method_name)
        _set(event, "deadline", deadline)
        _set(event, "content_type", content_type)
        _set(event, "user_agent", user_agent)
        _set(event, "peer", peer)
        await self._tell(event)
        return event.metadata, event.method_func

    async def send_trailing_metadata(
        self,
        metadata: _Metadata,
        *,
        status: Status,
        status_message: str | None,
        status_details: Any,
    ) -> tuple[_Metadata]:
        """Tell of a call that ends; return what the listeners have made of its metadata."""
        event = SendTrailingMetadata.__new__(SendTrailingMetadata)
        _set(event, "metadata", metadata)
        _set(event, "status", status)
        _set(event, "status_message", status_message)
        _set(event, "status_details", status_details)
        await self._tell(event)
        return (event.metadata,)

    async def _tell(self, event: _Event) -> None:
        _set(event, "__interrupted__", False)
        for callback in self._listeners[event.__class__]:
            await callback(event)
            if event.__interrupted__:
                return
