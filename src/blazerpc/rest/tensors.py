"""The Open Inference Protocol's JSON, with binary data beside it <-> its messages.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc.oip.contents import BYTES, DATATYPES, joined
from blazerpc.oip.mapping import NO_SHARED_MEMORY, SHARED_MEMORY
from blazerpc.oip.protocol import InferRequest, message_class
from blazerpc.runtime.errors import invalid_argument
from blazerpc_client.wire.dtypes import dtype_of
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import Bytes, LargeMessage
from blazerpc_client.wire.tensors import MAX_RANK, split_elements

#: Bytes of JSON, when binary data follow it.
JSON_LENGTH: Final = "Inference-Header-Content-Length"

#: What may be half a character, which no text of protobuf can hold.
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")

_BINARY_SIZE: Final = "binary_data_size"
_BINARY: Final = "binary_data"
_ALL_BINARY: Final = "binary_data_output"

_WIRE_NAMES: Final = {datatype: name for name, (datatype, _) in reversed(DATATYPES.items())}
_PARAMETERS: Final = {bool: "bool_param", int: "int64_param", str: "string_param"}

_Request: Any = message_class("ModelInferRequest")


class JsonRequest:
    """An inference request that came as JSON.

    Attributes:
        binary: names of the outputs that are wanted as binary data; None for all.
    """

    def __init__(self, model: str, version: str, json_length: str | None) -> None:
        self._model = model
        self._version = version
        self._json_length = json_length
        self.binary: frozenset[str] | None = frozenset()

    def parse(self, body: bytes) -> InferRequest:
        """Return the request.

        Raises:
            GRPCError: INVALID_ARGUMENT, naming the input.
        """
        size = self._size(body)
        document = loads(body[:size])
        message = _Request(model_name=self._model, model_version=self._version)
        message.id = _get(document, "id", str, "")
        _add_parameters(message.parameters, document)
        if _get(_get(document, "parameters", dict, {}), _ALL_BINARY, bool, False):
            self.binary = None
        rest, raw = memoryview(body)[size:], list[Bytes]()
        for given in _get(document, "inputs", list, []):
            tensor, contents, rest = _input(given, rest)
            message.inputs.append(tensor)
            raw.append(contents)
        if rest:
            raise invalid_argument(f"{len(rest)} bytes follow that belong to no input", None)
        wanted = set()
        for output in _get(document, "outputs", list, []):
            added = message.outputs.add(name=_get(output, "name", str, ""))
            _add_parameters(added.parameters, output)
            if _get(_get(output, "parameters", dict, {}), _BINARY, bool, False):
                wanted.add(added.name)
        if self.binary is not None:
            self.binary = frozenset(wanted)
        return InferRequest(message, raw)

    def _size(self, body: bytes) -> int:
        if self._json_length is None:
            return len(body)
        # Python reads no number of thousands of digits.
        number = re.fullmatch("[0-9]{1,19}", self._json_length)
        if number is None or int(number[0]) > len(body):
            raise invalid_argument("is no number of bytes of the body", JSON_LENGTH)
        return int(self._json_length)


def write_response(message: Any, binary: frozenset[str] | None) -> tuple[bytes, int | None]:
    """Return the body that carries a response, and the bytes of its JSON if others follow.

    Raises:
        GRPCError: OUT_OF_RANGE, for values that JSON does not have.
    """
    raw: Sequence[Bytes] = (
        list(message.data.values())
        if isinstance(message, LargeMessage)
        else message.raw_output_contents
    )
    document: dict[str, object] = {
        "model_name": message.model_name,
        "model_version": message.model_version,
    }
    if message.id:
        document["id"] = message.id
    outputs, behind = [], []
    for output, data in zip(message.outputs, raw, strict=True):
        shown: dict[str, object] = {
            "name": output.name,
            "datatype": output.datatype,
            "shape": list(output.shape),
        }
        if binary is None or output.name in binary:
            shown["parameters"] = {_BINARY_SIZE: len(data)}
            behind.append(data)
        else:
            shown["data"] = _values(output, data)
        outputs.append(shown)
    text = dumps({**document, "outputs": outputs})
    return b"".join([text, *behind]), len(text) if behind else None


def plain(message: Message) -> dict[str, object]:
    """Return one of the protocol's messages without tensors as its JSON has it."""
    document = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    for tensor in (*document.get("inputs", ()), *document.get("outputs", ())):
        tensor["shape"] = [int(size) for size in tensor["shape"]]  # protobuf's JSON has strings
    return cast(dict[str, object], document)


def dumps(document: Mapping[str, object]) -> bytes:
    """Return the JSON of an object, as short as it can be."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def loads(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a body.

    Raises:
        GRPCError: INVALID_ARGUMENT.
    """
    try:
        text = body.decode()  # RFC 8259, section 8.1
        document = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid_argument(f"the body is no JSON: {str(error)[:80]}", None) from None
    if not isinstance(document, dict):
        raise invalid_argument("the body is no JSON object", None)
    return document


def _get(document: Any, key: str, kind: type, default: Any) -> Any:
    value = document.get(key, default) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        raise invalid_argument(f"expected {kind.__name__}", key)
    return value


def _add_parameters(parameters: Any, document: Any) -> None:
    for name, value in _get(document, "parameters", dict, {}).items():
        field = _PARAMETERS.get(type(value))
        if field is None:
            continue  # nobody reads it
        try:
            setattr(parameters[name], field, value)
        except ValueError:
            raise invalid_argument("out of the range of 64 bits", name[:40]) from None


def _input(given: Any, rest: memoryview) -> tuple[Any, Bytes, memoryview]:
    """Return a tensor, its raw contents, and the binary data of the next ones."""
    name = _get(given, "name", str, "")
    try:
        shape = _get(given, "shape", list, None)
        if not all(type(size) is int and 0 <= size < 2**63 for size in shape):
            raise WireError("a shape is a list of sizes")
        datatype = _get(given, "datatype", str, None)
        tensor = _Request.InferInputTensor(name=name, datatype=datatype, shape=shape)
        _add_parameters(tensor.parameters, given)
        if SHARED_MEMORY in tensor.parameters:
            raise WireError(NO_SHARED_MEMORY)
        size = _get(given, "parameters", dict, {}).get(_BINARY_SIZE)
        if size is not None:
            if type(size) is not int or not 0 <= size <= len(rest) or "data" in given:
                raise WireError(f"{_BINARY_SIZE} does not fit what came")
            return tensor, rest[:size], rest[size:]
        if datatype not in _WIRE_NAMES:
            raise WireError(f"no such datatype: {datatype[:40]!r}")
        return tensor, _raw(_get(given, "data", list, None), datatype), rest
    except WireError as error:
        raise invalid_argument(error.message, name[:40] or "inputs") from None


def _raw(data: list[object], datatype: str) -> bytes:
    """Return JSON's values, flat or nested, as raw contents; raise ``WireError``."""
    if datatype == BYTES:
        return joined([_encoded(value) for value in _flat(data)])
    dtype = dtype_of(_WIRE_NAMES[datatype])
    values = _flat(data)
    exact: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}}
    kinds = exact.get(dtype.kind, {int, float})
    if not set(map(type, values)) <= kinds:  # by type: a bool is an int, and no number
        raise WireError(f"data are not all {datatype}")
    try:
        with np.errstate(over="raise"):
            wide = np.array(values, np.float64 if float in kinds else dtype)
            return wide.astype(dtype.newbyteorder("<")).tobytes()
    except (OverflowError, FloatingPointError):
        raise WireError(f"a value is out of range for {datatype}") from None


def _flat(data: Sequence[object], depth: int = 1) -> list[object]:
    if depth > MAX_RANK:
        raise WireError(f"a tensor has at most {MAX_RANK} dimensions")
    flat: list[object] = []
    for value in data:
        if isinstance(value, list):
            flat += _flat(value, depth + 1)
        else:
            flat.append(value)
    return flat


def _encoded(value: object) -> bytes:
    try:
        if isinstance(value, str):
            return value.encode()
    except UnicodeEncodeError:
        pass
    raise WireError("data are not all text")


def _values(output: Any, data: Bytes) -> list[Any]:
    """Return raw contents as JSON has them, flat."""
    if output.datatype == BYTES:
        try:
            count = math.prod(output.shape)
            return [element.decode() for element in split_elements(count, bytes(data))]
        except UnicodeDecodeError:
            raise _no_json(output.name, "bytes that are no text") from None
    dtype = dtype_of(_WIRE_NAMES[output.datatype])
    array = np.frombuffer(data, dtype.newbyteorder("<"))
    if dtype.kind not in "biu":
        array = array.astype(np.float64)
        if not np.isfinite(array).all():
            raise _no_json(output.name, "NaN or infinity")
    return cast(list[Any], array.tolist())


def _no_json(name: str, what: str) -> GRPCError:
    text = f"{name}: JSON has no {what}; ask for binary data"
    return GRPCError(Status.OUT_OF_RANGE, text)
