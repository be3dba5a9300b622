"""What a generated BlazeRPC client runs on, and the dynamic client."""

from typing import TYPE_CHECKING

from blazerpc_client.lazy import lazy_names

if TYPE_CHECKING:
    from blazerpc_client.backoff import Backoff
    from blazerpc_client.client import BlazeClient, ServiceClient
    from blazerpc_client.credentials import Credentials
    from blazerpc_client.errors import (
        Aborted,
        AlreadyExists,
        Cancelled,
        DataLoss,
        DeadlineExceeded,
        FailedPrecondition,
        Internal,
        InvalidArgument,
        NotFound,
        OutOfRange,
        PermissionDenied,
        ResourceExhausted,
        RpcError,
        Unauthenticated,
        Unavailable,
        Unimplemented,
        Unknown,
    )
    from blazerpc_client.metadata import ReceivedMetadata
    from blazerpc_client.options import CallOptions, Metadata
    from blazerpc_client.response import Response, StreamResponse, with_response
    from blazerpc_client.retry import RetryPolicy, RetryThrottling, ServiceConfig
    from blazerpc_client.schema import (
        BidirectionalMethod,
        ClientStreamMethod,
        Schema,
        StreamMethod,
        UnaryMethod,
    )
    from blazerpc_client.tls import ClientTLS
    from blazerpc_client.transport.limits import Limits
    from blazerpc_client.verify import SchemaMismatchWarning
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "backoff": ["Backoff"],
            "client": ["BlazeClient", "ServiceClient"],
            "compare": [],
            "credentials": ["Credentials"],
            "errors": [
                "Aborted",
                "AlreadyExists",
                "Cancelled",
                "DataLoss",
                "DeadlineExceeded",
                "FailedPrecondition",
                "Internal",
                "InvalidArgument",
                "NotFound",
                "OutOfRange",
                "PermissionDenied",
                "ResourceExhausted",
                "RpcError",
                "Unauthenticated",
                "Unavailable",
                "Unimplemented",
                "Unknown",
            ],
            "metadata": ["ReceivedMetadata"],
            "naming": [],
            "options": ["CallOptions", "Metadata"],
            "reflection": [],
            "response": ["Response", "StreamResponse", "with_response"],
            "retry": ["RetryPolicy", "RetryThrottling", "ServiceConfig"],
            "schema": [
                "BidirectionalMethod",
                "ClientStreamMethod",
                "Schema",
                "StreamMethod",
                "UnaryMethod",
            ],
            "specs": [],
            "tls": ["ClientTLS"],
            "transport": [],
            "transport.limits": ["Limits"],
            "verify": ["SchemaMismatchWarning"],
            "wire": [],
        },
    )

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Backoff",
    "BidirectionalMethod",
    "BlazeClient",
    "CallOptions",
    "Cancelled",
    "ClientStreamMethod",
    "ClientTLS",
    "Credentials",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "Limits",
    "Metadata",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ReceivedMetadata",
    "ResourceExhausted",
    "Response",
    "RetryPolicy",
    "RetryThrottling",
    "RpcError",
    "Schema",
    "SchemaMismatchWarning",
    "ServiceClient",
    "ServiceConfig",
    "StreamMethod",
    "StreamResponse",
    "UnaryMethod",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "with_response",
]


def __dir__() -> list[str]:
    return __all__
