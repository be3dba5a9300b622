"""Messages with large tensors, read and written around protobuf, which copies them again and again.

The message itself is protobuf's, but for the bytes of its tensors, which stand beside it: those
that came are views of the received buffer, those that go are sent as they are.

Without NumPy, which takes a while to import: a channel for calls that have no arrays needs none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

#: The message that carries a tensor.
TENSOR_MESSAGE: Final = "blazerpc.TensorProto"

#: What is received, and sent.
Bytes: TypeAlias = bytes | memoryview

#: Tensors and messages of fewer bytes are left to protobuf: its copies cost less than this does.
LARGE: Final = 32 << 10

#: Fields that are looked at in a received message, and in a tensor; with more, it is protobuf's.
_MAX_FIELDS: Final = 64

#: Of ``TensorProto.data``.
_DATA: Final = 3

# Wire types, https://protobuf.dev/programming-guides/encoding/#structure
_VARINT, _LEN = 0, 2
_FIXED: Final = {1: 8, 5: 4}  # bytes of the value, by wire type

#: https://protobuf.dev/programming-guides/proto3/#assigning
_MAX_NUMBER: Final = (1 << 29) - 1


class LargeMessage(Message):
    """A message of protobuf's, and beside it the bytes of tensors.

    Its fields are read and written as those of the message are.

    Attributes:
        light: the message, in which the data of those tensors is empty.
        data: the bytes of tensors, or of fields of bytes, by the name of the field.
    """

    light: Message
    data: dict[str, Bytes]

    def __init__(self, light: Message, data: dict[str, Bytes]) -> None:
        self.light = light
        self.data = data
        object.__setattr__(self, "DESCRIPTOR", light.DESCRIPTOR)

    def __getattr__(self, name: str) -> Any:
        # Only what the class has not: the fields, whose types are known at run time.
        value = getattr(self.light, name)
        is_tensor = name in tensor_fields(self.light.DESCRIPTOR)
        return _Tensor(value, self.data, name) if is_tensor else value

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__annotations__:
            object.__setattr__(self, name, value)
        else:
            setattr(self.light, name, value)

    def HasField(self, field_name: str) -> bool:  # noqa: N802 - as in protobuf
        """Return whether a field is there."""
        return self.light.HasField(field_name)

    def ListFields(self) -> Sequence[tuple[FieldDescriptor, Any]]:  # noqa: N802 - as in protobuf
        """Return the fields that are there."""
        return self.light.ListFields()

    def SerializeToString(self, **kwargs: bool) -> bytes:  # noqa: N802 - as in protobuf
        """Return the bytes, in one piece."""
        return b"".join(self.pieces())

    def ByteSize(self) -> int:  # noqa: N802 - as in protobuf
        """Return the number of the bytes."""
        return sum(map(len, self.pieces()))

    def pieces(self) -> tuple[Bytes, ...]:
        """Return the bytes; the data of tensors, as it is, in pieces of its own."""
        rest = type(self.light)()
        rest.CopyFrom(self.light)
        pieces: list[Bytes] = []
        for name, data in self.data.items():
            number = tensor_fields(self.light.DESCRIPTOR).get(name)
            if number is None:  # bytes by themselves
                number = self.light.DESCRIPTOR.fields_by_name[name].number
                pieces += [_tag(number, _varint(len(data))), data]
                continue
            tensor = getattr(self.light, name).SerializeToString() + _tag(_DATA, _varint(len(data)))
            pieces += [_tag(number, _varint(len(tensor) + len(data))) + tensor, data]
            rest.ClearField(name)
        return (rest.SerializeToString(), *pieces)


class _Tensor:
    """A ``TensorProto`` whose data stands beside it."""

    __slots__ = ("_beside", "_light", "_name")

    def __init__(self, light: Any, beside: dict[str, Bytes], name: str) -> None:
        self._light = light
        self._beside = beside
        self._name = name

    @property
    def shape(self) -> Any:
        return self._light.shape

    @property
    def dtype(self) -> str:
        dtype: str = self._light.dtype
        return dtype

    @dtype.setter
    def dtype(self, value: str) -> None:
        self._light.dtype = value

    @property
    def data(self) -> Bytes:
        data: Bytes = self._beside.get(self._name, b"")
        return data or self._light.data

    @data.setter
    def data(self, value: bytes) -> None:
        if len(value) < LARGE:
            self._light.data = value
        else:
            self._beside[self._name] = value

    def SetInParent(self) -> None:  # noqa: N802 - as in protobuf
        self._light.SetInParent()


@lru_cache(maxsize=1024)
def tensor_fields(descriptor: Descriptor) -> dict[str, int]:
    """Return the numbers of the fields that hold one tensor, by name."""
    return {
        field.name: field.number
        for field in descriptor.fields
        if field.message_type is not None
        and field.message_type.full_name == TENSOR_MESSAGE
        and not field.is_repeated
        # Of several members, the last one that comes drops the others.
        and (field.containing_oneof is None or len(field.containing_oneof.fields) == 1)
    }


def read_message(data: bytes | bytearray | memoryview, message_class: type[Message]) -> Message:
    """Return the message that ``data`` holds; arrays of large ones will be views of it.

    Raises:
        DecodeError: when it holds none of this type.
    """
    if len(data) >= LARGE and (numbers := tensor_fields(message_class.DESCRIPTOR)):
        try:
            light, beside = _split(memoryview(data).toreadonly(), frozenset(numbers.values()))
        except NotSimpleError:  # protobuf has the last word, on what is wrong, too
            pass
        else:
            of_names: dict[str, Bytes] = {
                name: beside[number] for name, number in numbers.items() if number in beside
            }
            return LargeMessage(message_class.FromString(light), of_names)
    message: Message = message_class.FromString(data)  # type: ignore[arg-type]  # takes any buffer
    return message


def data_offset(begin: memoryview) -> int:
    """Return where the data of a large tensor will be, in a message of which this is the begin.

    It is a guess: so that the data can be received where an array of it is aligned.
    """
    tensor = _long_field(begin)
    return tensor + _long_field(begin[tensor:])


def _long_field(begin: memoryview) -> int:
    """Return where the payload of the field begins that goes on after ``begin``, 0 without one."""
    position = 0
    try:
        for _ in range(_MAX_FIELDS):
            tag, position = _read_varint(begin, position)
            if tag & 7 == _LEN:
                size, position = _read_varint(begin, position)
                if size > len(begin) - position:
                    return position
                position += size
            elif tag & 7 == _VARINT:
                _, position = _read_varint(begin, position, most=10)
            else:
                break
    except NotSimpleError:
        pass
    return 0


class NotSimpleError(Exception):
    """The bytes are wrong, or such that reading them here is not worth it."""


def _split(view: memoryview, tensors: frozenset[int]) -> tuple[bytes, dict[int, memoryview]]:
    """Return a message without the data of its tensors, and the data by the tensors' fields.

    A tensor that comes in several pieces is merged as protobuf does, whose rule is that the last
    ``data`` counts. https://protobuf.dev/programming-guides/encoding/#last-one-wins
    """
    light = bytearray()
    beside: dict[int, memoryview] = {}
    for number, begin, payload, end in fields(view):
        if number not in tensors:
            light += view[begin:end]
            continue
        if payload is None:
            raise NotSimpleError
        tensor = bytearray()
        for inner, inner_begin, inner_payload, inner_end in fields(payload):
            if inner != _DATA:
                tensor += payload[inner_begin:inner_end]
            elif inner_payload is None:
                raise NotSimpleError
            else:
                beside[number] = inner_payload
        light += _tag(number, _varint(len(tensor))) + tensor
    return bytes(light), beside


def fields(view: memoryview) -> Iterator[tuple[int, int, memoryview | None, int]]:
    """Yield of each field its number, begin, payload if it has a length, and end."""
    position = 0
    for _ in range(_MAX_FIELDS):
        if position == len(view):
            return
        begin = position
        tag, position = _read_varint(view, position)
        payload = None
        wire_type = tag & 7
        if wire_type == _LEN:
            size, position = _read_varint(view, position)
            payload = view[position : position + size]
            position += size
        elif wire_type == _VARINT:
            _, position = _read_varint(view, position, most=10)
        elif wire_type in _FIXED:
            position += _FIXED[wire_type]
        else:
            raise NotSimpleError
        if position > len(view) or not 0 < tag >> 3 <= _MAX_NUMBER:
            raise NotSimpleError
        yield tag >> 3, begin, payload, position
    raise NotSimpleError


def _read_varint(view: memoryview, position: int, most: int = 5) -> tuple[int, int]:
    """Return a varint of ``most`` bytes, and where it ends."""
    value = 0
    for shift in range(0, 7 * most, 7):
        if position == len(view):
            break
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise NotSimpleError


def _tag(number: int, size: bytes) -> bytes:
    """Return the begin of a field that has a length."""
    return _varint(number << 3 | _LEN) + size


def _varint(value: int) -> bytes:
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)
