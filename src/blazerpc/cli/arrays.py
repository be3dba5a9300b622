"""Arrays as JSON: nested lists where these say it all, else an object with dtype, shape and data.

JSON has no complex numbers, no bytes and no NaN: a complex number is Python's text of one,
``"1.0+2.0j"``, bytes are base64, and ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` are what
protobuf's JSON calls them.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from blazerpc_client.wire.dtypes import dtype_of, numpy_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.tensors import TensorSpec, shape_text

_PARTS: Final = {"dtype", "shape", "data"}

_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

#: What an array of no declared dtype looks like, for who wrote another thing.
_DESCRIBED: Final = '{"dtype": "float32", "shape": [2], "data": [1, 2]}'


def array_to_json(array: npt.NDArray[Any], spec: TensorSpec | None) -> object:
    """Return what ``array_from_json`` makes the same array of."""
    elements = np.empty(array.size, object)
    elements[:] = list(elements_to_json(array))
    if spec is not None and _filled_up(_told_by_lists(array.shape), spec) == array.shape:
        nested: object = elements.reshape(array.shape).tolist()
        return nested
    dtype = numpy_name(array.dtype)
    return {"dtype": dtype, "shape": list(array.shape), "data": elements.tolist()}


def elements_to_json(array: npt.NDArray[Any]) -> Iterator[object]:
    """Yield the elements of an array in C order."""
    flat = array.reshape(-1)
    match array.dtype.kind:
        case "S":
            yield from (base64.b64encode(element).decode() for element in flat.tolist())
        case "c":
            yield from (f"{z.real}{z.imag:+}j" for z in flat.tolist())
        case "f" | "V":
            if array.dtype.kind == "V":  # bfloat16, whose text would be that of a float32
                flat = flat.astype(np.float32)
            numbers = flat.tolist() if flat.dtype.itemsize == 8 else map(shortened, flat)
            yield from map(float_to_json, numbers)
        case _:
            yield from flat.tolist()


def shortened(number: np.floating[Any]) -> float:
    """Return the shortest decimal that is the number in its dtype: 0.1, not 0.10000000149011612."""
    exact = float(number)
    return exact if exact.is_integer() else float(str(number))


def float_to_json(number: float) -> float | str:
    """Return the number, by its name where JSON has none for it."""
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def float_from_json(value: object) -> object:
    """Return the number that a name stands for, and anything else as it is."""
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def bytes_from_text(text: str) -> bytes:
    """Return the bytes that base64 stands for.

    Raises:
        WireError: when the text is not base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):  # ValueError: of text that is not ASCII
        raise WireError("not base64, which bytes are written in") from None


def array_from_json(value: object, spec: TensorSpec | None) -> npt.NDArray[Any]:
    """Return the array that nested lists are in the declared dtype, or that an object describes.

    An array without elements has the declared sizes where the lists say none. Whether it is what is
    declared is not checked here.

    Raises:
        WireError: for lists that are no array, and for elements that the dtype cannot hold.
    """
    if isinstance(value, dict):
        return _described(value)
    if spec is None:
        raise WireError(f"a tensor of no declared dtype; write {_DESCRIBED}")
    shape, elements = _flattened(value)
    return _array(elements, shape, spec.dtype).reshape(_filled_up(shape, spec))


def _described(value: dict[object, object]) -> npt.NDArray[Any]:
    name, shape, data = (value.get(part) for part in ("dtype", "shape", "data"))
    if value.keys() != _PARTS or not isinstance(name, str) or not isinstance(data, list):
        raise WireError(f"no tensor; write nested lists, or {_DESCRIBED}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise WireError("a shape is a list of sizes", field="shape")
    if math.prod(shape) != len(data):
        raise WireError(f"{len(data)} elements do not fill {shape_text(shape)}", field="data")
    dtype = np.dtype(np.str_) if name == "str" else dtype_of(name)
    try:
        return _array(data, (len(data),), dtype).reshape(shape)
    except ValueError as error:
        if isinstance(error, WireError):
            raise error.at("data") from None
        raise WireError("more dimensions or sizes than NumPy has", field="shape") from None


def _flattened(value: object) -> tuple[tuple[int, ...], list[object]]:
    """Return the shape of nested lists, and their elements in order."""
    shape: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        size = len(level[0])
        for item in level:
            if not isinstance(item, list) or len(item) != size:
                got = len(item) if isinstance(item, list) else "none"
                raise WireError(f"lists of one depth differ in length: {size} and {got}")
        shape.append(size)
        level = [element for item in level if isinstance(item, list) for element in item]
    return tuple(shape), level


def _told_by_lists(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the part of a shape that nested lists of it have: the sizes up to the first 0."""
    return shape[: shape.index(0) + 1] if 0 in shape else shape


def _filled_up(shape: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    if 0 not in shape:
        return shape
    rest = spec.shape[len(shape) :]
    return (*shape, *(size if isinstance(size, int) else 0 for size in rest))


def _array(
    elements: list[object], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    make = _ELEMENTS[dtype.kind]
    made: list[Any] = []
    for element in elements:
        try:
            made.append(make(element, dtype))
        except WireError as error:
            raise error.at(_place(len(made), shape)) from None
    if dtype.kind in "fcV":
        return _rounded(made, shape, dtype)
    kind: Any = {"U": np.str_, "S": np.bytes_}.get(dtype.kind, dtype)
    return np.array(made, kind).reshape(shape)


def _rounded(numbers: list[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    wide = np.array(numbers, np.complex128 if dtype.kind == "c" else np.float64)
    with np.errstate(over="ignore"):
        narrow: npt.NDArray[Any] = wide.astype(dtype)
    lost = np.isfinite(wide) & ~np.isfinite(narrow)
    if lost.any():
        raise _out_of_range(dtype).at(_place(int(np.argmax(lost)), shape))
    return narrow.reshape(shape)


def _place(index: int, shape: tuple[int, ...]) -> str:
    """Return where the element of that index is in nested lists: ``[2][0]``."""
    return "".join(f"[{number}]" for number in np.unravel_index(index, shape)) if shape else ""


def _integer(value: object, dtype: np.dtype[Any]) -> object:
    if type(value) is not int:
        raise _expected("int", value)
    limits = np.iinfo(dtype)
    if not limits.min <= value <= limits.max:
        raise _out_of_range(dtype)
    return value


def _float(value: object, dtype: np.dtype[Any]) -> object:
    number = float_from_json(value)
    if type(number) not in (int, float):
        raise _expected("float", value)
    return _wide(number, float, dtype)


def _complex(value: object, dtype: np.dtype[Any]) -> object:
    number = float_from_json(value)
    if type(number) not in (int, float, str):
        raise _expected('complex, like "1.0+2.0j"', value)
    try:
        return _wide(number, complex, dtype)
    except ValueError:
        raise WireError(f"{str(value)[:40]!r} is no complex number; write 1.0+2.0j") from None


def _wide(number: Any, kind: type[float] | type[complex], dtype: np.dtype[Any]) -> object:
    try:
        return kind(number)
    except OverflowError:  # of an integer
        raise _out_of_range(dtype) from None


def _bool(value: object, _: np.dtype[Any]) -> object:
    if type(value) is not bool:
        raise _expected("bool", value)
    return value


def _text(value: object, _: np.dtype[Any]) -> object:
    if not isinstance(value, str):
        raise _expected("str", value)
    return _held(value, "\0")


def _bytes(value: object, _: np.dtype[Any]) -> object:
    if not isinstance(value, str):
        raise _expected("bytes as base64", value)
    return _held(bytes_from_text(value), b"\0")


def _held(value: Any, nul: Any) -> object:
    if value.endswith(nul):
        raise WireError("NumPy cannot hold an element that ends in a NUL")
    return value


def _expected(what: str, value: object) -> WireError:
    return WireError(f"expected {what}, got {json_type(value)}")


def _out_of_range(dtype: np.dtype[Any]) -> WireError:
    return WireError(f"out of range for {numpy_name(dtype)}")


def json_type(value: object) -> str:
    """Return the name of a JSON value's type."""
    return (
        "null" if value is None else "object" if isinstance(value, dict) else type(value).__name__
    )


#: By the kind of a dtype: what makes its element of a JSON value, or raises ``WireError``.
_ELEMENTS: Final[dict[str, Callable[[object, np.dtype[Any]], object]]] = {
    "b": _bool,
    "i": _integer,
    "u": _integer,
    "f": _float,
    "V": _float,
    "c": _complex,
    "U": _text,
    "S": _bytes,
}
