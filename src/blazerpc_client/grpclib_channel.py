"""grpclib's channel on the h2 library (``http="h2"``), whose calls end when their answers do."""

from __future__ import annotations

from typing import TypeVar, cast

import grpclib.client
from grpclib.const import Cardinality
from grpclib.exceptions import StreamTerminatedError
from grpclib.metadata import Deadline, _Metadata, _MetadataLike
from h2.exceptions import StreamClosedError
from multidict import MultiDict

from blazerpc_client.call import ClientCall

S = TypeVar("S")
R = TypeVar("R")


class GrpclibCall(ClientCall[S, R]):
    """A call that ends when its answer does.

    grpclib waits for a status that an answer ended without, until the deadline if there is one. It
    gives up a whole answer when the server then resets the stream, as RFC 9113, section 8.1, has a
    server do that does not want the rest of the requests. Whoever still sends the one request hears
    of that, and then gets the status.
    """

    async def send_request(self, *, end: bool = False) -> None:
        """Send the headers, over a connection that is made if there is none."""
        await super().send_request(end=end)
        stream = self._stream
        take_end, take_reset = stream.__ended__, stream.__terminated__

        def ended() -> None:
            take_end()
            content_type = dict(stream.headers or ()).get("content-type", "")
            if content_type.startswith("application/grpc"):
                stream.__terminated__("the answer ended without a status")

        def terminated(reason: str) -> None:
            answered = stream.trailers is not None or "grpc-status" in dict(stream.headers or ())
            sending = not (self._cardinality.client_streaming or self._send_message_done)
            if sending or not answered:
                take_reset(reason)

        stream.__ended__ = ended  # type: ignore[method-assign]  # grpclib has no hook for it
        stream.__terminated__ = terminated  # type: ignore[method-assign]  # likewise

    async def send_message(self, message: S, *, end: bool = False) -> None:
        """Send one message; the first is preceded by the headers."""
        try:
            await super().send_message(message, end=end)
        except StreamClosedError:
            raise StreamTerminatedError("the stream is closed") from None

    def abort(self) -> None:
        """Fail whatever waits for the answer."""
        self._stream.__terminated__("no more requests")


class GrpclibChannel(grpclib.client.Channel):
    """grpclib's channel as it is, making such calls."""

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[S],
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: _MetadataLike | None = None,
    ) -> GrpclibCall[S, R]:
        """Return a call that has not been sent."""
        return GrpclibCall(
            self,
            name,
            cast(_Metadata, MultiDict(metadata or ())),
            cardinality,
            request_type,
            reply_type,
            codec=self._codec,
            status_details_codec=self._status_details_codec,
            dispatch=self.__dispatch__,
            deadline=deadline if timeout is None else Deadline.from_timeout(timeout),
        )
