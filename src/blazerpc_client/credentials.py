"""Credentials of a client's calls: metadata that is given once, and sent with each."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from grpclib.events import SendRequest

from blazerpc_client.errors import InvalidArgument, RpcError, Unauthenticated
from blazerpc_client.metadata import check_metadata

#: Metadata that stays, or a function that is asked for it before each call; it may be a coroutine
#: function, and keeps for itself what need not be made anew.
Credentials = (
    Mapping[str, str | bytes]
    | Callable[[], Mapping[str, str | bytes]]
    | Callable[[], Awaitable[Mapping[str, str | bytes]]]
)

_PLAINTEXT: Final = (
    "credentials: anybody can read them on a plaintext connection; give tls=, or "
    "allow_insecure_credentials=True"
)


class CallCredentials:
    """What is added to the metadata of each call.

    Args:
        credentials: that were given.

    Raises:
        InvalidArgument: for metadata that gRPC cannot carry.
    """

    def __init__(self, credentials: Credentials) -> None:
        self._given = credentials
        if not callable(credentials):
            try:
                check_metadata(credentials)
            except ValueError as error:
                raise InvalidArgument(f"credentials: {error}", field="credentials") from None

    async def add_to(self, event: SendRequest) -> None:
        """Add them to the metadata of a call that begins, but for keys that it has itself.

        Raises:
            Unauthenticated: when there are none to be had, or none that gRPC can carry.
        """
        given = self._given
        for key, value in (await _asked(given) if callable(given) else given).items():
            if key not in event.metadata:
                event.metadata[key] = value


async def _asked(
    function: Callable[[], Mapping[str, str | bytes] | Awaitable[Mapping[str, str | bytes]]],
) -> Mapping[str, str | bytes]:
    try:
        made = function()
        found = await made if inspect.isawaitable(made) else made
        check_metadata(found)
    except RpcError:
        raise
    except Exception as error:
        # Its text may be what is secret; who debugs it has the cause.
        kind = type(error).__name__
        raise Unauthenticated(f"the client's credentials cannot be had: {kind}") from error
    return found


def call_credentials(
    credentials: Credentials | None, *, secure: bool, allow_insecure: bool
) -> CallCredentials | None:
    """Return what is added to the metadata of a channel's calls.

    Args:
        credentials: that were given.
        secure: whether the channel is encrypted.
        allow_insecure: whether they may be sent when it is not.

    Raises:
        InvalidArgument: when they may not be sent, or cannot be.
    """
    if credentials is None:
        return None
    if not (secure or allow_insecure):
        raise InvalidArgument(_PLAINTEXT, field="credentials")
    return CallCredentials(credentials)
