"""Messages <-> Python values: one compiled decoder and encoder for each model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.message import Message

from blazerpc.exceptions import InferenceError, SerializationError, ValidationError
from blazerpc.rows import EnumRow, StructRow
from blazerpc.rows.enums import EnumMembers
from blazerpc.runtime.registry import ModelInfo
from blazerpc_client.schema import RESULT, Schema
from blazerpc_client.wire import tensors
from blazerpc_client.wire.depth import check_depth, is_recursive, too_deep
from blazerpc_client.wire.dtypes import wire_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.fields import field_codec
from blazerpc_client.wire.large import tensor_fields
from blazerpc_client.wire.malformed import refuse_retyped
from blazerpc_client.wire.tensors import Dims
from blazerpc_client.wire.values import EnumClass, StructClass, empty_message


class ModelCodec:
    """Reads a model's requests and writes its responses.

    Args:
        model: whose parameters and result these are.
        schema: of the app.
        method: full name of the model's rpc in ``schema``.

    Attributes:
        request_class: of google.protobuf, for requests.
        response_class: likewise for responses.
    """

    def __init__(self, model: ModelInfo, schema: Schema, method: str) -> None:
        descriptor = schema.method(method)
        self.request_class: type[Message] = message_factory.GetMessageClass(descriptor.input_type)
        self.response_class: type[Message] = message_factory.GetMessageClass(descriptor.output_type)
        self._model_name = model.name
        self._is_tensor = bool(tensor_fields(descriptor.output_type))
        self._is_recursive = is_recursive(descriptor.output_type)
        classes = _ServerClasses(model)
        codecs = {field.name: field_codec(field, classes) for field in descriptor.input_type.fields}
        self._parameters = [
            (name, codecs[name].read, row.adapter(), name in model.defaults)
            for name, row in model.parameters.items()
        ]
        self._result = field_codec(descriptor.output_type.fields_by_name[RESULT], classes)

    def decode(self, request: Message, dims: Dims) -> dict[str, object]:
        """Return the model's arguments, without those that are left to its defaults.

        The call's symbolic dimensions are bound in ``dims``.

        Raises:
            ValidationError: naming the parameter that the request has no valid value for.
        """
        arguments = {}
        try:
            refuse_retyped(request)
            for name, read, adapt, has_default in self._parameters:
                value = read(request, dims)
                if value is None and has_default:
                    continue  # the function has it
                arguments[name] = value if adapt is None else adapt(value)
        except WireError as error:
            raise ValidationError(error.message, field=error.field) from None
        return arguments

    def encode(self, result: object, dims: Dims) -> Message:
        """Return the response that carries ``result``.

        Raises:
            InferenceError: when the result is not what the model's annotation says.
        """
        if self._is_tensor:
            response = empty_message(self.response_class, (result,))
        else:
            response = self.response_class()
        try:
            self._result.write(response, result, dims)
            if self._is_recursive:
                check_depth(response)
        except RecursionError:
            raise self._not_as_annotated(too_deep()) from None
        except WireError as error:
            raise self._not_as_annotated(error) from None
        return response

    def _not_as_annotated(self, error: WireError) -> InferenceError:
        name = self._model_name
        return InferenceError(
            f"model {name!r} returned what its annotation does not say: {error}", model_name=name
        )


class _ServerClasses:
    """The classes that a model's function gets and gives."""

    def __init__(self, model: ModelInfo) -> None:
        self._rows = {row.name: row for row in model.classes}

    def struct(self, descriptor: Descriptor) -> StructClass:
        row = self._rows[descriptor.name]
        assert isinstance(row, StructRow)
        return row

    def enum(self, descriptor: EnumDescriptor) -> EnumClass:
        row = self._rows[descriptor.name]
        assert isinstance(row, EnumRow)
        return EnumMembers(row, descriptor)


@dataclass(frozen=True, slots=True)
class TensorProto:
    """The parts of a tensor on the wire: shape, name of the dtype, bytes in C order."""

    shape: tuple[int, ...]
    dtype: str
    data: bytes


def serialize_tensor(array: npt.NDArray[Any]) -> TensorProto:
    """Return the parts of ``array`` on the wire.

    Raises:
        SerializationError: for a dtype that has no place there.
    """
    try:
        wire_name(array.dtype)
    except WireError as error:
        raise SerializationError(str(error), dtype=str(array.dtype)) from None
    try:
        return TensorProto(*tensors.encode(array))
    except WireError as error:
        raise SerializationError(str(error)) from None


def deserialize_tensor(proto: TensorProto) -> npt.NDArray[Any]:
    """Return the array that ``proto`` describes, read-only.

    Raises:
        SerializationError: for an unknown dtype, or a shape that the data does not fill.
    """
    try:
        return tensors.decode(proto.shape, proto.dtype, proto.data)
    except WireError as error:
        raise SerializationError(str(error), dtype=proto.dtype) from None
