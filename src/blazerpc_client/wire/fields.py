"""One field of a message <-> one plain Python value, decided once from the field's descriptor.

Plain values are what a client sees: ``int``, ``float``, ``str``, ``bool``, ``bytes``, lists of
them, and NumPy arrays. Server and client read and write every field through these codecs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from blazerpc_client.wire import tensors
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.options import read_default, read_tensor
from blazerpc_client.wire.scalars import SCALARS, Scalar
from blazerpc_client.wire.tensors import Dims, TensorSpec

#: The message that carries a tensor.
TENSOR_MESSAGE: Final = "blazerpc.TensorProto"


class FieldCodec(ABC):
    """Reads one field of a message into a plain value, and writes it."""

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        #: Whether a value can be left out: ``None``, and the server's default applies.
        self.omissible = is_optional(field) or read_default(field) is not None

    @abstractmethod
    def read(self, message: Message, dims: Dims) -> object:
        """Return the field's value.

        Raises:
            WireError: naming the field, when the bytes hold no value of its type.
        """

    @abstractmethod
    def write(self, message: Message, value: object, dims: Dims) -> None:
        """Set the field.

        Raises:
            WireError: naming the field, when the value is not of its type.
        """


class ScalarField(FieldCodec):
    """A singular scalar."""

    def __init__(self, field: FieldDescriptor, scalar: Scalar) -> None:
        super().__init__(field)
        self._convert = scalar.convert

    def read(self, message: Message, dims: Dims) -> object:
        value: object = getattr(message, self.name)
        return value

    def write(self, message: Message, value: object, dims: Dims) -> None:
        try:
            setattr(message, self.name, self._convert(value))
        except WireError as error:
            raise error.at(self.name) from None


class ListField(FieldCodec):
    """A repeated scalar."""

    def __init__(self, field: FieldDescriptor, scalar: Scalar) -> None:
        super().__init__(field)
        self._convert = scalar.convert

    def read(self, message: Message, dims: Dims) -> object:
        return list(getattr(message, self.name))

    def write(self, message: Message, value: object, dims: Dims) -> None:
        if value is None and self.omissible:
            return
        if not isinstance(value, list | tuple):
            raise WireError(f"expected list, got {type(value).__name__}", field=self.name)
        getattr(message, self.name).extend(self._converted(value))

    def _converted(self, values: list[object] | tuple[object, ...]) -> list[object]:
        convert = self._convert
        converted: list[object] = []
        try:
            for value in values:
                converted.append(convert(value))  # noqa: PERF401 - its length is the failing index
        except WireError as error:
            raise error.at(f"{self.name}[{len(converted)}]") from None
        return converted


class TensorField(FieldCodec):
    """A ``TensorProto``, checked against the declared type when the schema declares one."""

    def __init__(self, field: FieldDescriptor) -> None:
        super().__init__(field)
        self.spec: TensorSpec | None = read_tensor(field)

    def read(self, message: Message, dims: Dims) -> object:
        if not message.HasField(self.name):
            raise WireError("missing: a tensor is required", field=self.name)
        tensor = getattr(message, self.name)
        try:
            array = tensors.decode(tensor.shape, tensor.dtype, tensor.data)
            if self.spec is not None:
                self.spec.check(array, dims)
        except WireError as error:
            raise error.at(self.name) from None
        return array

    def write(self, message: Message, value: object, dims: Dims) -> None:
        try:
            if isinstance(value, np.generic):  # what NumPy's reductions give for a 0-d array
                value = np.asarray(value)
            if not isinstance(value, np.ndarray):
                expected = f"{self.spec} array" if self.spec else "array"
                raise WireError(f"expected {expected}, got {type(value).__name__}")
            if self.spec is not None:
                self.spec.check(value, dims)
            shape, dtype, data = tensors.encode(value)
        except WireError as error:
            raise error.at(self.name) from None
        # Filled in place: the constructor would copy the data four times.
        tensor = getattr(message, self.name)
        tensor.shape.extend(shape)
        tensor.dtype = dtype
        tensor.data = data


class OptionalField(FieldCodec):
    """A field that may be absent, which is ``None``."""

    def __init__(self, field: FieldDescriptor, present: FieldCodec) -> None:
        super().__init__(field)
        self._present = present

    def read(self, message: Message, dims: Dims) -> object:
        return self._present.read(message, dims) if message.HasField(self.name) else None

    def write(self, message: Message, value: object, dims: Dims) -> None:
        if value is not None:
            self._present.write(message, value, dims)


def field_codec(field: FieldDescriptor) -> FieldCodec:
    """Return the codec of ``field``.

    Raises:
        WireError: when this version has no Python type for such a field.
    """
    codec = _present_codec(field)
    return OptionalField(field, codec) if is_optional(field) else codec


def is_optional(field: FieldDescriptor) -> bool:
    """Return whether the field is declared ``optional``: alone in a oneof, which protoc adds."""
    return field.containing_oneof is not None and len(field.containing_oneof.fields) == 1


def _present_codec(field: FieldDescriptor) -> FieldCodec:
    scalar = SCALARS.get(field.type)
    if scalar is not None:
        return ListField(field, scalar) if field.is_repeated else ScalarField(field, scalar)
    if is_tensor(field) and not field.is_repeated:
        return TensorField(field)
    raise WireError("a field of this kind is not supported", field=field.full_name)


def is_tensor(field: FieldDescriptor) -> bool:
    """Return whether the field holds ``TensorProto`` messages."""
    return field.message_type is not None and field.message_type.full_name == TENSOR_MESSAGE


class MessageCodec:
    """All fields of one message type.

    Args:
        descriptor: of the message type.
        message_class: of google.protobuf, made from that descriptor.
    """

    def __init__(self, descriptor: Descriptor, message_class: Callable[[], Message]) -> None:
        self.fields = {field.name: field_codec(field) for field in descriptor.fields}
        self._message_class = message_class

    def encode(self, values: dict[str, object], dims: Dims) -> Message:
        """Return a message of ``values``, one for each field that cannot be left out.

        Raises:
            WireError: naming a field that is missing, not known, or of another type.
        """
        if values.keys() != self.fields.keys():
            self._check_names(values)
        message = self._message_class()
        for name, value in values.items():
            self.fields[name].write(message, value, dims)
        return message

    def decode(self, message: Message, dims: Dims) -> dict[str, object]:
        """Return the value of every field.

        Raises:
            WireError: naming the first field that holds no value of its type.
        """
        return {name: codec.read(message, dims) for name, codec in self.fields.items()}

    def _check_names(self, values: dict[str, object]) -> None:
        takes = ", ".join(self.fields)
        for name in values:
            if name not in self.fields:
                raise WireError(f"no such parameter; there are: {takes}", field=name)
        for name, codec in self.fields.items():
            if name not in values and not codec.omissible:
                raise WireError("missing", field=name)
