"""What grpclib reads and writes messages with."""

from __future__ import annotations

from typing import Any, cast

from grpclib.encoding.proto import ProtoCodec

from blazerpc_client.wire.large import LargeMessage, read_message


class Codec(ProtoCodec):
    """google.protobuf, and what goes around it.

    Args:
        in_pieces: whether a large message is given out as it is sent: a tuple of its pieces, which
            this package's HTTP/2 takes, and grpclib's does not.
    """

    def __init__(self, *, in_pieces: bool) -> None:
        self._in_pieces = in_pieces

    def encode(self, message: Any, message_type: type[Any]) -> bytes:
        """Return the bytes."""
        if not isinstance(message, LargeMessage):
            if type(message) is not message_type:
                raise TypeError(
                    f"{message_type.__name__} is to be sent, not {type(message).__name__}"
                )
            data: bytes = message.SerializeToString()
            return data
        # grpclib has no type for it, and does nothing with it but to hand it on.
        return cast(bytes, message.pieces()) if self._in_pieces else message.SerializeToString()

    def decode(self, data: bytes, message_type: type[Any]) -> Any:
        """Return the message.

        Raises:
            DecodeError: for bytes that are none.
        """
        return read_message(data, message_type)
