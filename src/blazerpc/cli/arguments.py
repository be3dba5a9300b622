"""``key=value`` arguments of a method -> plain values; what they name is read here.

``key=text`` is what the text stands for, ``key:=text`` is JSON whatever the type. ``@path`` as the
text is the content of a file, and ``-`` that of the standard input.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from blazerpc.cli.images import read_image
from blazerpc.cli.values import from_json, from_text, kind_of, parse_json
from blazerpc_client.specs import MethodSpec, model_name, parameter_text, type_text
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.options import read_tensor
from blazerpc_client.wire.tensors import TensorSpec

#: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
_NPY: Final = b"\x93NUMPY"


def parse_arguments(
    texts: Sequence[str], method: MethodDescriptor, spec: MethodSpec, stdin: Callable[[], bytes]
) -> dict[str, object]:
    """Return the values of a method's arguments, by name.

    Args:
        texts: as they were typed.
        method: that takes them.
        spec: of the method.
        stdin: reads the standard input to its end.

    Raises:
        WireError: naming the argument that is not known, is missing, or stands for no value.
    """
    values: dict[str, object] = {}
    fields = method.input_type.fields_by_name
    types = {field.name: type_text(field) for field in spec.request.fields}
    source = _Source(stdin)
    for text in texts:
        name, equals, value = text.partition("=")
        as_json, name = name.endswith(":"), name.removesuffix(":")
        if not equals:
            raise WireError(f"{text[:40]!r} is no argument; write key=value; {_takes(spec)}")
        if name not in fields:
            raise WireError(f"no argument {name[:40]!r}; {_takes(spec)}")
        if name in values:
            raise WireError("given twice", field=name)
        try:
            values[name] = source.value(fields[name], value, as_json=as_json)
        except _NotReadError as error:
            raise error.at(name) from None
        except WireError as error:
            mended = WireError(f"{error.message}; it takes {types[name]}", field=error.field)
            raise mended.at(name) from None
    for field in spec.request.fields:
        if field.required and field.name not in values:
            raise WireError(f"missing; {_takes(spec)}", field=field.name)
    return values


def _takes(spec: MethodSpec) -> str:
    name = spec.name if spec.model is None else model_name(spec.model)
    parameters = ", ".join(parameter_text(field) for field in spec.request.fields)
    return f"{name} takes {parameters or 'nothing'}"


class _NotReadError(WireError):
    """What an argument names cannot be read."""


class _Source:
    """Where the values of arguments are read from: the text, a file, the standard input."""

    def __init__(self, stdin: Callable[[], bytes]) -> None:
        self._stdin: Callable[[], bytes] | None = stdin

    def value(self, field: FieldDescriptor, text: str, *, as_json: bool) -> object:
        if text == "-":
            if self._stdin is None:
                raise _NotReadError("the standard input is that of another argument already")
            read, self._stdin = self._stdin, None
            data, where = read(), "the standard input"
        elif text.startswith("@"):
            where = text[1:]
            data = _read(where)
        else:
            return from_json(field, parse_json(text)) if as_json else from_text(field, text)
        if as_json:
            return from_json(field, _json(data, where))
        return _content(field, data, where)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: of a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise _NotReadError(f"cannot read {path!r}: {reason}") from None


def _content(field: FieldDescriptor, data: bytes, where: str) -> object:
    """Return what a file or the standard input holds: bytes and text as they are."""
    match kind_of(field):
        case "bytes":
            return data
        case "str":
            try:
                return data.decode()
            except UnicodeDecodeError:
                raise WireError(f"{where} is not UTF-8 text") from None
        case "tensor" if data.startswith(_NPY):
            return _saved(data, read_tensor(field), where)
        case "tensor" if Path(where).suffix not in ("", ".json"):
            return read_image(data, read_tensor(field), where)
    return from_json(field, _json(data, where))


def _json(data: bytes, where: str) -> object:
    try:
        return parse_json(data)
    except WireError as error:
        raise WireError(f"{where} is {error.message}") from None


def _saved(data: bytes, spec: TensorSpec | None, where: str) -> npt.NDArray[Any]:
    """Return the array of a .npy file."""
    try:
        array: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise WireError(f"{where} holds no array: {error}") from None
    if spec is not None and spec.dtype.kind == "V" == array.dtype.kind:
        # A .npy file has no name for bfloat16: it is two bytes of anything there.
        return array.view(spec.dtype) if array.dtype.itemsize == spec.dtype.itemsize else array
    return array
