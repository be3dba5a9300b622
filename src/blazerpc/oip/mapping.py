"""A model's parameters and result as tensors of the protocol; decided when a server is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from blazerpc.exceptions import InferenceError, ValidationError
from blazerpc.oip.contents import (
    DATATYPES,
    ArrayCodec,
    Element,
    ListCodec,
    ScalarCodec,
    TensorCodec,
)
from blazerpc.rows import OptionalRow, Row
from blazerpc.rows.containers import ListRow
from blazerpc.rows.scalars import FIELD_TYPES, LiteralRow, ScalarRow
from blazerpc.rows.tensors import TensorRow
from blazerpc.runtime.model import ModelInfo
from blazerpc_client.schema import RESULT
from blazerpc_client.wire.dtypes import wire_name
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.large import Bytes
from blazerpc_client.wire.scalars import SCALARS
from blazerpc_client.wire.tensors import Dims
from blazerpc_client.wire.values import literal_value

#: Triton's, for tensors that lie in memory which client and server share.
SHARED_MEMORY: Final = "shared_memory_region"

#: What who asks for it is told.
NO_SHARED_MEMORY: Final = "shared memory is not supported"


class NotOfferedError(Exception):
    """A model has a type that no tensor can carry."""


class ModelMapping:
    """The tensors of one model.

    Attributes:
        inputs: the codec of each parameter, in order.
        output: the codec of the result.

    Raises:
        NotOfferedError: saying which of its types has no tensor.
    """

    def __init__(self, model: ModelInfo) -> None:
        self.inputs: Mapping[str, TensorCodec] = {
            name: _codec(row, f"parameter {name!r}") for name, row in model.parameters.items()
        }
        self.output: TensorCodec = _codec(model.result, "the result")
        self._model = model
        self._result_may_be_absent = isinstance(model.result, OptionalRow)

    def arguments(
        self, tensors: Sequence[Any], raw: Sequence[Bytes], dims: Dims
    ) -> dict[str, object]:
        """Return the model's arguments, without those that are left to its defaults.

        Args:
            tensors: of the request.
            raw: the contents of each; empty when they are typed.
            dims: of the call, filled.

        Raises:
            ValidationError: naming the input.
        """
        if raw and len(raw) != len(tensors):
            raise ValidationError(
                f"{len(raw)} raw contents for {len(tensors)} inputs; each has its own, or none has",
                field="raw_input_contents",
            )
        values: dict[str, object] = {}
        for index, tensor in enumerate(tensors):
            name = tensor.name
            if name not in self.inputs:
                known = ", ".join(self.inputs) or "none"
                raise ValidationError(f"no such input; there are: {known}", field=name[:40])
            if name in values:
                raise ValidationError("the input is given twice", field=name)
            if SHARED_MEMORY in tensor.parameters:
                raise ValidationError(NO_SHARED_MEMORY, field=name)
            try:
                values[name] = self.inputs[name].read(tensor, raw[index] if raw else None, dims)
            except WireError as error:
                at = error.at(name)
                raise ValidationError(at.message, field=at.field) from None
        return self._in_order(values)

    def _in_order(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return the arguments as the function has them; raise for one that is missing."""
        arguments: dict[str, object] = {}
        for name, row in self._model.parameters.items():
            if name in values:
                arguments[name] = values[name]
            elif name in self._model.defaults:
                continue  # the function has it
            elif isinstance(row, OptionalRow):
                arguments[name] = None
            else:
                raise ValidationError("missing", field=name)
        return arguments

    def check_outputs(self, outputs: Sequence[Any]) -> None:
        """Check what a request wants.

        Raises:
            ValidationError: naming the output that cannot be had.
        """
        for output in outputs:
            if output.name != RESULT:
                raise ValidationError(f"no such output; there is: {RESULT}", field=output.name[:40])
            if SHARED_MEMORY in output.parameters:
                raise ValidationError(NO_SHARED_MEMORY, field=RESULT)
            if "classification" in output.parameters:
                raise ValidationError("classification is not supported", field=RESULT)

    def result(self, value: object, dims: Dims) -> tuple[Sequence[int], bytes] | None:
        """Return shape and raw contents of a result; None when it is absent.

        Raises:
            InferenceError: when it is not what the model's annotation says.
        """
        if value is None and self._result_may_be_absent:
            return None
        try:
            return self.output.dump(value, dims)
        except WireError as error:
            name = self._model.name
            raise InferenceError(
                f"model {name!r} returned what its annotation does not say: {error.at(RESULT)}",
                model_name=name,
            ) from None


def _codec(row: Row, what: str) -> TensorCodec:
    """Return the codec of the values of ``row``.

    Raises:
        NotOfferedError: when no tensor can carry them.
    """
    present = row.present if isinstance(row, OptionalRow) else row
    if isinstance(present, TensorRow):
        name = wire_name(present.spec.dtype)
        if name in DATATYPES:
            return ArrayCodec(name, present.spec)
    elif isinstance(present, ListRow):
        element = _element(present.item)
        if element is not None:
            return ListCodec(element)
    else:
        element = _element(present)
        if element is not None:
            return ScalarCodec(element)
    raise NotOfferedError(f"{what} is {row}, for which the protocol has no tensor")


def _element(row: Row) -> Element | None:
    """Return what a scalar is as an element of a tensor, None when it is no scalar."""
    if isinstance(row, LiteralRow):
        value = literal_value(row.allowed)
        return Element("string", value.dump, value.load, row.adapter())
    if isinstance(row, ScalarRow):
        return Element(row.proto, SCALARS[FIELD_TYPES[row.proto]].convert, None, row.adapter())
    return None
