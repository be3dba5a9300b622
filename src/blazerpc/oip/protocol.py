"""The protocol's own messages and service, and large tensors around protobuf.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
and, for ``ModelStreamInfer`` and ``InferParameter``'s later fields, Triton's ``grpc_service.proto``
https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.message import Message

from blazerpc_client.schema import Schema
from blazerpc_client.wire.large import LARGE, Bytes, LargeMessage, NotSimpleError, fields

PACKAGE: Final = "inference"
SERVICE_NAME: Final = f"{PACKAGE}.GRPCInferenceService"

#: A field's name and type.
_Field: TypeAlias = tuple[str, str]

# "*" is repeated, "map" a map of strings to InferParameter, "|" a member of the one oneof; a name
# with a capital is a message. Fields are numbered from 1, as they are in the published file.
_MESSAGES: Final[dict[str, list[_Field]]] = {
    "ServerLiveRequest": [],
    "ServerLiveResponse": [("live", "bool")],
    "ServerReadyRequest": [],
    "ServerReadyResponse": [("ready", "bool")],
    "ModelReadyRequest": [("name", "string"), ("version", "string")],
    "ModelReadyResponse": [("ready", "bool")],
    "ServerMetadataRequest": [],
    "ServerMetadataResponse": [
        ("name", "string"),
        ("version", "string"),
        ("extensions", "*string"),
    ],
    "ModelMetadataRequest": [("name", "string"), ("version", "string")],
    "ModelMetadataResponse.TensorMetadata": [
        ("name", "string"),
        ("datatype", "string"),
        ("shape", "*int64"),
    ],
    "ModelMetadataResponse": [
        ("name", "string"),
        ("versions", "*string"),
        ("platform", "string"),
        ("inputs", "*ModelMetadataResponse.TensorMetadata"),
        ("outputs", "*ModelMetadataResponse.TensorMetadata"),
    ],
    "InferParameter": [
        ("bool_param", "|bool"),
        ("int64_param", "|int64"),
        ("string_param", "|string"),
        ("double_param", "|double"),
        ("uint64_param", "|uint64"),
    ],
    "InferTensorContents": [
        ("bool_contents", "*bool"),
        ("int_contents", "*int32"),
        ("int64_contents", "*int64"),
        ("uint_contents", "*uint32"),
        ("uint64_contents", "*uint64"),
        ("fp32_contents", "*float"),
        ("fp64_contents", "*double"),
        ("bytes_contents", "*bytes"),
    ],
    "ModelInferRequest.InferInputTensor": [
        ("name", "string"),
        ("datatype", "string"),
        ("shape", "*int64"),
        ("parameters", "map"),
        ("contents", "InferTensorContents"),
    ],
    "ModelInferRequest.InferRequestedOutputTensor": [("name", "string"), ("parameters", "map")],
    "ModelInferRequest": [
        ("model_name", "string"),
        ("model_version", "string"),
        ("id", "string"),
        ("parameters", "map"),
        ("inputs", "*ModelInferRequest.InferInputTensor"),
        ("outputs", "*ModelInferRequest.InferRequestedOutputTensor"),
        ("raw_input_contents", "*bytes"),
    ],
    "ModelInferResponse.InferOutputTensor": [
        ("name", "string"),
        ("datatype", "string"),
        ("shape", "*int64"),
        ("parameters", "map"),
        ("contents", "InferTensorContents"),
    ],
    "ModelInferResponse": [
        ("model_name", "string"),
        ("model_version", "string"),
        ("id", "string"),
        ("parameters", "map"),
        ("outputs", "*ModelInferResponse.InferOutputTensor"),
        ("raw_output_contents", "*bytes"),
    ],
    "ModelStreamInferResponse": [
        ("error_message", "string"),
        ("infer_response", "ModelInferResponse"),
    ],
}

_UNARY: Final = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
)

#: Triton's: requests and responses as they come.
STREAM: Final = "ModelStreamInfer"


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="grpc_predict_v2.proto", package=PACKAGE, syntax="proto3")
    known: dict[str, DescriptorProto] = {}
    # Those inside others are listed before these, and stand in them.
    for name, described in _MESSAGES.items():
        outer, _, inner = name.rpartition(".")
        if outer not in known and outer:
            known[outer] = file.message_type.add(name=outer)
        if inner and outer:
            message = known[outer].nested_type.add(name=inner)
        else:
            message = known.get(name) or file.message_type.add(name=name)
        for number, (field, kind) in enumerate(described, 1):
            _add_field(message, name, field, number, kind)
    service = file.service.add(name=SERVICE_NAME.rpartition(".")[2])
    for method in _UNARY:
        service.method.add(
            name=method,
            input_type=f".{PACKAGE}.{method}Request",
            output_type=f".{PACKAGE}.{method}Response",
        )
    service.method.add(
        name=STREAM,
        input_type=f".{PACKAGE}.ModelInferRequest",
        output_type=f".{PACKAGE}.{STREAM}Response",
        client_streaming=True,
        server_streaming=True,
    )
    return file


def _add_field(message: DescriptorProto, path: str, name: str, number: int, kind: str) -> None:
    added = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.startswith("*") or kind == "map":
        added.label = FieldDescriptorProto.LABEL_REPEATED
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        added.oneof_index = 0
    kind = kind.lstrip("*|")
    if kind == "map":
        # What protoc makes of map<string, InferParameter>.
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add_field(entry, "", "key", 1, "string")
        _add_field(entry, "", "value", 2, "InferParameter")
        kind = f"{path}.ParametersEntry"
    if kind[0].isupper():
        added.type = FieldDescriptorProto.TYPE_MESSAGE
        added.type_name = f".{PACKAGE}.{kind}"
    else:
        added.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


#: In a pool of its own: a process may have Triton's client, too, whose file defines the same names.
SCHEMA: Final = Schema([_file()])


def message_class(name: str) -> type[Any]:
    """Return the class of one of the protocol's messages."""
    return message_factory.GetMessageClass(SCHEMA.message(f"{PACKAGE}.{name}"))


#: Message classes made at run time have no types to check.
_Request: Any = message_class("ModelInferRequest")
InferResponse: Any = message_class("ModelInferResponse")
StreamResponse: Any = message_class(f"{STREAM}Response")

_RAW: Final[int] = _Request.DESCRIPTOR.fields_by_name["raw_input_contents"].number


class InferRequest:
    """A ``ModelInferRequest`` whose raw contents stand beside it: views of the received buffer.

    Attributes:
        message: of protobuf; of a large request, without its raw contents.
        raw: the raw contents, in order.
    """

    DESCRIPTOR: Descriptor = _Request.DESCRIPTOR

    __slots__ = ("message", "raw")

    def __init__(self, message: Any, raw: Sequence[Bytes]) -> None:
        self.message: Any = message
        self.raw: Sequence[Bytes] = raw

    @classmethod
    def FromString(cls, data: Bytes) -> InferRequest:  # noqa: N802 - as in protobuf
        """Return the request that ``data`` holds.

        Raises:
            DecodeError: when it holds none.
        """
        if len(data) >= LARGE:
            light, raw = bytearray(), []
            view = memoryview(data).toreadonly()
            try:
                for number, begin, payload, end in fields(view):
                    if number != _RAW:
                        light += view[begin:end]
                    elif payload is None:
                        raise NotSimpleError
                    else:
                        raw.append(payload)
            except NotSimpleError:  # protobuf has the last word
                pass
            else:
                return cls(_Request.FromString(bytes(light)), raw)
        message = _Request.FromString(data)
        return cls(message, message.raw_input_contents)


def with_raw_output(response: Any, raw: Sequence[bytes]) -> Message:
    """Return ``response`` with raw contents; a large one is sent as it is."""
    if len(raw) == 1 and len(raw[0]) >= LARGE:
        return LargeMessage(response, {"raw_output_contents": raw[0]})
    response.raw_output_contents.extend(raw)
    message: Message = response
    return message
