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
from blazerpc_client.metadata import ReceivedMetadata
from blazerpc_client.response import Response, StreamResponse, with_response
from blazerpc_client.schema import (
    BidirectionalMethod,
    ClientStreamMethod,
    Schema,
    StreamMethod,
    UnaryMethod,
)
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
    "Metadata",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "ReceivedMetadata",
    "ResourceExhausted",
    "Response",
    "RpcError",
    "Schema",
    "SchemaMismatchWarning",
    "ServiceClient",
    "StreamMethod",
    "StreamResponse",
    "UnaryMethod",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "with_response",
]
