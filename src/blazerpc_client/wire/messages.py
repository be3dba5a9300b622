"""Message dataclasses <-> protobuf messages. The only module that knows betterproto2.

A generated dataclass is a ``betterproto2.Message`` whose fields are plain Python and NumPy values.
Its bytes are made and read by google.protobuf: betterproto2's own codec wraps integers that are out
of range, takes truncated input, and is slow.
"""

# No `from __future__ import annotations` here: betterproto2 evaluates the annotations of base
# classes in the module of the generated subclass, where names of this module mean nothing.
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Self

import betterproto2
import numpy as np
import numpy.typing as npt
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from blazerpc_client.errors import InvalidArgument, arguments_checked
from blazerpc_client.wire import tensors
from blazerpc_client.wire.fields import MessageCodec
from blazerpc_client.wire.malformed import malformed_field


def field(number: int, proto: str, *, repeated: bool = False, optional: bool = False) -> Any:
    """Return a dataclass field of the scalar type that protobuf calls ``proto``.

    The result is typed ``Any``, as that of ``dataclasses.field`` is in effect: it stands where a
    value of the annotated type is expected.
    """
    return betterproto2.field(number, proto, repeated=repeated, optional=optional)


def tensor_field(number: int, *, optional: bool = False) -> Any:
    """Return a dataclass field that holds an array, ``TensorProto`` on the wire."""
    message = betterproto2.TYPE_MESSAGE
    return betterproto2.field(number, message, unwrap=lambda: TensorProto, optional=optional)


@dataclass(eq=False, repr=False)
class Message(betterproto2.Message):
    """Base of generated message dataclasses.

    ``bytes(message)`` and ``parse(data)`` are the wire format, ``to_dict()`` and ``to_json()`` the
    JSON one. Two messages are equal when they are of one class and all their fields are.
    """

    #: Of the message type; set by the generated subclass.
    DESCRIPTOR: ClassVar[Descriptor]

    def __bytes__(self) -> bytes:
        """Return the wire format.

        Raises:
            InvalidArgument: when a field holds what the schema does not allow.
        """
        codec, names = _codec(type(self))
        with arguments_checked():
            values = {wire: getattr(self, name) for wire, name in names.items()}
            return codec.encode(values, {}).SerializeToString(deterministic=True)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the message that ``data`` holds.

        Raises:
            InvalidArgument: when it holds none of this type.
        """
        codec, names = _codec(cls)
        message_class = message_factory.GetMessageClass(cls.DESCRIPTOR)
        try:
            message = message_class.FromString(data)
        except DecodeError:
            at = malformed_field(data, cls.DESCRIPTOR)
            raise InvalidArgument("not a valid protobuf message", field=at) from None
        with arguments_checked():
            values = codec.decode(message, {})
        return cls(**{names[wire]: value for wire, value in values.items()})

    def is_set(self, name: str) -> bool:
        """Return whether a field has another value than its default."""
        default = next(f.default_factory for f in fields(self) if f.name == name)
        assert default is not MISSING  # betterproto2.field always gives one
        return not _equal(getattr(self, name), default())

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(_equal(getattr(self, name), getattr(other, name)) for name in self._names())

    __hash__ = None  # type: ignore[assignment]  # mypy expects a method, Python's data model says None

    def __bool__(self) -> bool:
        return any(self.is_set(name) for name in self._names())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names())
        return f"{type(self).__name__}({fields})"

    @classmethod
    def _names(cls) -> list[str]:
        return list(_codec(cls)[1].values())


@dataclass(eq=False, repr=False)
class TensorProto(betterproto2.Message):
    """What betterproto2 turns an array into on its way to JSON, and back."""

    shape: list[int] = field(1, betterproto2.TYPE_INT64, repeated=True)
    dtype: str = field(2, betterproto2.TYPE_STRING)
    data: bytes = field(3, betterproto2.TYPE_BYTES)

    @staticmethod
    def from_wrapped(array: npt.NDArray[Any]) -> "TensorProto":
        """Return the message that carries ``array``."""
        shape, dtype, data = tensors.encode(array)
        return TensorProto(shape=list(shape), dtype=dtype, data=data)

    def to_wrapped(self) -> npt.NDArray[Any]:
        """Return the array that the message carries."""
        with arguments_checked():
            return tensors.decode(self.shape, self.dtype, self.data)


@cache
def _codec(message_class: type[Message]) -> tuple[MessageCodec, dict[str, str]]:
    """Return the codec of a class, and its attributes by their names on the wire."""
    descriptor = message_class.DESCRIPTOR
    attributes = {
        betterproto2.FieldMetadata.get(field).number: field.name for field in fields(message_class)
    }
    names = {field.name: attributes[field.number] for field in descriptor.fields}
    return MessageCodec(descriptor, message_factory.GetMessageClass(descriptor)), names


def _equal(left: object, right: object) -> bool:
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        inexact = left.dtype.kind in "fc"
        return left.dtype == right.dtype and np.array_equal(left, right, equal_nan=inexact)
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return False
    # As betterproto2 has it: a message that holds NaN equals itself.
    return bool(left == right) or bool(left != left and right != right)
