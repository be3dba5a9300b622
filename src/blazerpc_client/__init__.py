"""What a generated BlazeRPC client runs on, and the dynamic client."""

from blazerpc_client.channel import CallOptions, Metadata
from blazerpc_client.client import BlazeClient, ServiceClient
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
from blazerpc_client.schema import (
    BidirectionalMethod,
    ClientStreamMethod,
    Schema,
    StreamMethod,
    UnaryMethod,
)
from blazerpc_client.transport.limits import Limits
from blazerpc_client.verify import SchemaMismatchWarning

__all__ = [
    "Aborted",
    "AlreadyExists",
    "BidirectionalMethod",
    "BlazeClient",
    "CallOptions",
    "Cancelled",
    "ClientStreamMethod",
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
    "ResourceExhausted",
    "RpcError",
    "Schema",
    "SchemaMismatchWarning",
    "ServiceClient",
    "StreamMethod",
    "UnaryMethod",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
]
