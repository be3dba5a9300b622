"""The server's exceptions.

BlazeRPCError
├── ConfigurationError      options or an app that cannot work
│   └── StartupError        what is built before the server serves has failed
├── ModelNotFoundError      no model of that name and version
├── ValidationError         an annotation, a name or a request that is not allowed
├── SerializationError      a value that has no form on the wire
├── InferenceError          the model failed, or returned what its annotation does not say
├── OverloadedError         no room for another call
└── DeadlineExceededError   the caller's time was over before the model began
"""

from __future__ import annotations

import uuid


class BlazeRPCError(Exception):
    """Base of all exceptions that BlazeRPC's server side raises."""


class ConfigurationError(BlazeRPCError):
    """Options out of range, an app that cannot be loaded, an address that cannot be served."""


class StartupError(ConfigurationError):
    """The lifespan, the construction of a model or its warm-up failed (see ``__cause__``)."""


class ModelNotFoundError(BlazeRPCError):
    """No model of that name and version is registered."""

    def __init__(self, name: str, version: str = "1") -> None:
        super().__init__(f"no model {name!r} of version {version!r}")
        self.name = name
        self.version = version


class ValidationError(BlazeRPCError):
    """An annotation, a name or a request that is not allowed.

    Attributes:
        field: the parameter or field at fault, None when it is the whole.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class SerializationError(BlazeRPCError):
    """A value that has no form on the wire.

    Attributes:
        dtype: the dtype at fault, by name; None when it is something else.
    """

    def __init__(self, message: str, *, dtype: str | None = None) -> None:
        super().__init__(message)
        self.dtype = dtype


class InferenceError(BlazeRPCError):
    """The model raised (see ``__cause__``), or returned what its annotation does not say.

    Attributes:
        model_name: of the model that failed.
        error_id: that the log and the clients have, all of them when it failed a whole batch.
        logged: whether the log has it already.
    """

    def __init__(self, message: str, *, model_name: str | None = None) -> None:
        super().__init__(message)
        self.model_name = model_name
        self.error_id: str = uuid.uuid4().hex[:12]
        self.logged: bool = False


class OverloadedError(BlazeRPCError):
    """No room for another call.

    Attributes:
        retry_after: seconds after which there may be.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceededError(BlazeRPCError):
    """The caller's time was over before the model began."""
