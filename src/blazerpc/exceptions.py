"""The server's exceptions.

BlazeRPCError
├── ConfigurationError    options or an app that cannot work
├── ModelNotFoundError    no model of that name and version
├── ValidationError       an annotation, a name or a request that is not allowed
├── SerializationError    a value that has no form on the wire
└── InferenceError        the model failed, or returned what its annotation does not say
"""

from __future__ import annotations


class BlazeRPCError(Exception):
    """Base of all exceptions that BlazeRPC's server side raises."""


class ConfigurationError(BlazeRPCError):
    """Options out of range, an app that cannot be loaded, an address that cannot be served."""


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
    """

    def __init__(self, message: str, *, model_name: str | None = None) -> None:
        super().__init__(message)
        self.model_name = model_name
