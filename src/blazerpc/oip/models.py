"""The models as the protocol sees them: found by name and version, described, asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from blazerpc.exceptions import ValidationError
from blazerpc.oip.mapping import ModelMapping, NotOfferedError
from blazerpc.oip.protocol import InferRequest, message_class
from blazerpc.runtime.runner import ModelRunner
from blazerpc_client.schema import RESULT
from blazerpc_client.wire.tensors import Dims

#: What metadata calls the place that models come from.
_PLATFORM: Final = "blazerpc_python"

_MetadataResponse: Any = message_class("ModelMetadataResponse")


def not_found(name: str, version: str, versions: Collection[str]) -> str:
    """Return that there is no such version of a model, or no such model when it has none."""
    if not versions:
        return f"no model {name[:80]!r}"
    known = ", ".join(versions)
    return f"model {name!r} has no version {version[:80]!r}; there are: {known}"


class OfferedModel:
    """One model that the protocol can express.

    Attributes:
        runner: that calls it.
        what: it is, for error messages.
    """

    def __init__(self, runner: ModelRunner, mapping: ModelMapping) -> None:
        self.runner = runner
        self.what: str = f"model {runner.model.name!r}"
        self._mapping = mapping

    def metadata(self, versions: Sequence[str]) -> Any:
        """Return its ``ModelMetadataResponse``.

        Args:
            versions: all that are offered of it.
        """
        name = self.runner.model.name
        response = _MetadataResponse(name=name, versions=versions, platform=_PLATFORM)
        tensors = [(response.inputs, name, codec) for name, codec in self._mapping.inputs.items()]
        for field, name, codec in [*tensors, (response.outputs, RESULT, self._mapping.output)]:
            field.add(name=name, datatype=codec.datatype, shape=codec.shape)
        return response

    def arguments(self, request: InferRequest, dims: Dims) -> dict[str, object]:
        """Return the arguments of a request, and fill the symbolic dimensions.

        Raises:
            ValidationError: naming the input, or the output, that cannot be had.
        """
        message = request.message
        self._mapping.check_outputs(message.outputs)
        return self._mapping.arguments(message.inputs, request.raw, dims)

    def begin(self, response: Any, request: InferRequest) -> None:
        """Say in a ``ModelInferResponse`` whose it is."""
        response.model_name = self.runner.model.name
        response.model_version = self.runner.model.version
        response.id = request.message.id

    def add_output(self, response: Any, result: object, dims: Dims) -> list[bytes]:
        """Add the outputs to a ``ModelInferResponse``; return their raw contents.

        Raises:
            InferenceError: when the result is not what the model's annotation says.
        """
        tensor = self._mapping.result(result, dims)
        if tensor is None:
            return []
        shape, data = tensor
        response.outputs.add(name=RESULT, datatype=self._mapping.output.datatype, shape=shape)
        return [data]


class Models:
    """All models of a server, those that are not offered with the reason."""

    def __init__(self, runners: Iterable[ModelRunner]) -> None:
        self._models: dict[str, dict[str, OfferedModel | str]] = {}
        for runner in runners:
            model = runner.model
            offered: OfferedModel | str
            try:
                offered = OfferedModel(runner, ModelMapping(model))
            except NotOfferedError as error:
                offered = f"model {model.name!r} is not offered: {error}"
            self._models.setdefault(model.name, {})[model.version] = offered

    def find(self, name: str, version: str) -> OfferedModel:
        """Return a model.

        Args:
            name: under which it is registered.
            version: likewise; empty for "1", or for the only one that there is.

        Raises:
            GRPCError: NOT_FOUND with the reason.
            ValidationError: without a name.
        """
        if not name:
            raise ValidationError("missing", field="model_name")
        versions = self._models.get(name, {})
        if not versions:
            raise GRPCError(Status.NOT_FOUND, not_found(name, version, versions))
        if not version:
            version = next(iter(versions)) if len(versions) == 1 else "1"
        found = versions.get(version)
        if found is None:
            raise GRPCError(Status.NOT_FOUND, not_found(name, version, versions))
        if isinstance(found, str):
            raise GRPCError(Status.NOT_FOUND, found)
        return found

    def versions(self, name: str) -> list[str]:
        """Return the versions of a model that are offered."""
        versions = self._models[name].items()
        return [version for version, found in versions if isinstance(found, OfferedModel)]
