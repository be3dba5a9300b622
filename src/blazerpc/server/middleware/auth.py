"""Who may call: authentication, and what is needed of it most often."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import logging
import traceback
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from grpclib.const import Status
from grpclib.events import RecvRequest
from grpclib.exceptions import GRPCError
from grpclib.protocol import Peer
from multidict import MultiMapping

from blazerpc.context import current_principal
from blazerpc.exceptions import ConfigurationError
from blazerpc.server.calls import current_call
from blazerpc.server.middleware.base import Middleware
from blazerpc.server.middleware.paths import HEALTH, Paths

log: logging.Logger = logging.getLogger("blazerpc.auth")

_BEARER: Final = "authorization"
_REFUSED: Final = "the call has no valid credentials"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What is known of who calls, before anybody has decided who it is.

    Attributes:
        metadata: that came with the call; no part of ``repr``, since it holds secrets.
        method: path of the rpc, ``/blazerpc.InferenceService/PredictSentiment``.
        peer: the client's connection.
    """

    metadata: MultiMapping[str | bytes] = field(repr=False)
    method: str
    peer: Peer = field(repr=False)

    @property
    def certificate(self) -> Mapping[str, Any] | None:
        """The client's certificate as ``ssl.SSLSocket.getpeercert`` has it; None without one.

        It has been verified: there is none unless the server asks for it (``client_ca``).
        """
        return self.peer.cert() or None

    @property
    def common_name(self) -> str | None:
        """The common name of the certificate's subject; None when there is not exactly one."""
        subject = (self.certificate or {}).get("subject", ())
        names = [value for part in subject for key, value in part if key == "commonName"]
        return names[0] if len(names) == 1 else None


#: Returns who calls, or None for nobody that it knows. To refuse in another way it raises
#: ``GRPCError``. It may be a coroutine function; any other must not block.
Decide: TypeAlias = Callable[[Caller], str | Awaitable[str | None] | None]


class AuthMiddleware(Middleware):
    """Lets those calls through whose caller is known.

    The others get UNAUTHENTICATED, or what ``decide`` raises. Whatever else it raises refuses the
    call as INTERNAL; the log has the place and the exception's type, and not its text, which may
    be what the caller sent.

    Args:
        decide: who calls. What it returns is ``Context.principal``, and in the access log.
        public: what anybody may call: paths of rpcs, or of services, as ``/package.Service/``.

    Raises:
        ConfigurationError: for a path of another form.
    """

    def __init__(self, decide: Decide, *, public: Collection[str] = HEALTH) -> None:
        self._decide = decide
        self._public = Paths(public)

    async def on_request(self, event: RecvRequest) -> None:
        if event.method_name in self._public:
            return
        caller = Caller(metadata=event.metadata, method=event.method_name, peer=event.peer)
        principal = await self._asked(caller)
        if not isinstance(principal, str) or not principal:
            raise GRPCError(Status.UNAUTHENTICATED, _REFUSED)
        current_principal.set(principal)
        if (call := current_call()) is not None:
            call.principal = principal

    async def _asked(self, caller: Caller) -> object:
        try:
            found = self._decide(caller)
            return await found if inspect.isawaitable(found) else found
        except GRPCError as error:
            if error.status is Status.OK:
                raise GRPCError(Status.UNAUTHENTICATED, _REFUSED) from None
            raise
        except Exception as error:
            error_id = uuid.uuid4().hex[:12]
            places = "".join(traceback.format_tb(error.__traceback__)).rstrip()
            kind = type(error).__name__
            log.error("authentication failed, error id %s: %s\n%s", error_id, kind, places)
            text = f"authentication failed; error id {error_id}"
            raise GRPCError(Status.INTERNAL, text) from None


def bearer_token(tokens: Mapping[str, str]) -> Callable[[Caller], str | None]:
    """Return what knows callers by ``authorization: Bearer TOKEN`` (RFC 6750, section 2.1).

    Args:
        tokens: whose each is. Several may be one principal's.

    Raises:
        ConfigurationError: for no tokens, or one that headers cannot carry.
    """
    secrets = _Secrets(tokens, "a token")

    def decide(caller: Caller) -> str | None:
        scheme, _, token = _only(caller, _BEARER).partition(" ")
        # RFC 9110, section 11.1: the scheme's case is of no importance.
        return secrets.owner(token.strip(" ")) if scheme.lower() == "bearer" else None

    return decide


def api_key(
    keys: Mapping[str, str], *, header: str = "x-api-key"
) -> Callable[[Caller], str | None]:
    """Return what knows callers by a key in the metadata.

    Args:
        keys: whose each is. Several may be one principal's.
        header: the metadata that holds it.

    Raises:
        ConfigurationError: for no keys, or one that headers cannot carry.
    """
    secrets = _Secrets(keys, "a key")
    name = header.lower()

    def decide(caller: Caller) -> str | None:
        return secrets.owner(_only(caller, name))

    return decide


class _Secrets:
    """Secrets, as digests: of one length, and nothing to be shown by mistake."""

    def __init__(self, owners: Mapping[str, str], what: str) -> None:
        if not owners:
            raise ConfigurationError(f"nobody could call: give {what}")
        for secret, owner in owners.items():
            if not (secret.isascii() and secret.isprintable() and secret == secret.strip() != ""):
                raise ConfigurationError(f"{what} of {owner!r} is not printable ASCII, or is empty")
            if not owner:
                raise ConfigurationError(f"{what} has an empty principal")
        self._owners = [(_digest(secret), owner) for secret, owner in owners.items()]

    def owner(self, secret: str) -> str | None:
        """Return whose it is, in a time that does not tell how much of it is right."""
        digest, found = _digest(secret), None
        for known, owner in self._owners:  # all of them, whichever it is
            if hmac.compare_digest(digest, known):
                found = owner
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _only(caller: Caller, key: str) -> str:
    """Return the value of a key; empty unless there is exactly one, and it is text."""
    values = caller.metadata.getall(key, [])
    only = values[0] if len(values) == 1 else ""
    return only if isinstance(only, str) else ""
