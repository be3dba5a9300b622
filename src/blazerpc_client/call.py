"""A call as the channel sees it, over either HTTP/2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

import grpclib.client
from grpclib.const import Status

from blazerpc_client.errors import AnsweredError
from blazerpc_client.metadata import ReceivedMetadata, Recorder, received

S = TypeVar("S")
R = TypeVar("R")


class ClientCall(grpclib.client.Stream[S, R], ABC):
    """grpclib's call, which tells of the metadata that came, and takes an answer of any server.

    grpclib's own server leaves the content-type out when it has no such method, which its client
    takes for an answer of something that is not gRPC.

    Attributes:
        recorder: is told of the metadata, when the call has ended well.
        previous_attempts: of the same call, which failed; sent along on this package's HTTP/2.
    """

    recorder: Recorder | None = None
    previous_attempts: int = 0

    @property
    def answered(self) -> bool:
        """Whether the server has begun to answer, with more than the status of a failure.

        From then on a call is not made again.
        https://github.com/grpc/proposal/blob/master/A6-client-retries.md
        """
        headers = dict(self._stream.headers or ()) if self._send_request_done else {}
        return headers.get(":status") == "200" and "grpc-status" not in headers

    async def unary(self, message: S) -> R | None:
        """Make the whole of a unary call: send its message, return the answer if there is one."""
        async with self:
            await self.send_message(message, end=True)
            return await self.recv_message()

    @abstractmethod
    def abort(self) -> None:
        """Fail whatever waits for the answer."""

    def stop_sending(self) -> None:
        """Leave out what has not been sent; the server has answered without it."""
        self._end_done = True

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await super().__aexit__(exc_type, exc_value, traceback)
        if self.recorder is not None and exc_value is None:
            self.recorder.initial, self.recorder.trailing = self._received()

    def _raise_for_content_type(self, headers_map: dict[str, str]) -> None:
        if "grpc-status" not in headers_map:
            super()._raise_for_content_type(headers_map)

    def _raise_for_grpc_status(self, status: Status, message: str | None, details: object) -> None:
        if status is not Status.OK:
            raise AnsweredError(status, message, details, self._received()[1])

    def _received(self) -> tuple[ReceivedMetadata, ReceivedMetadata]:
        """Return the initial and the trailing metadata.

        They are read here, as grpclib leaves out all that begins with ``grpc-``.
        """
        headers, trailers = self._stream.headers or (), self._stream.trailers or ()
        if "grpc-status" in dict(headers):  # an answer of one header block, which is its trailers
            headers, trailers = (), headers
        return received(headers), received(trailers)
