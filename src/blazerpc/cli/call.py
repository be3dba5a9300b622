"""``blaze call``: call a model, or a method of any server with reflection."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor

from blazerpc.cli.arguments import parse_arguments
from blazerpc.cli.exits import FAILURE, CommandError, called_wrongly, exit_code_of
from blazerpc.cli.metadata import hide, lines_of, parse_metadata
from blazerpc.cli.results import Output, Results
from blazerpc.cli.text import mended
from blazerpc_client.channel import Channel
from blazerpc_client.errors import NotFound, RpcError, Unavailable, Unimplemented
from blazerpc_client.metadata import ReceivedMetadata
from blazerpc_client.options import CallOptions
from blazerpc_client.reflection import fetch_schema
from blazerpc_client.response import with_response
from blazerpc_client.schema import Schema, StreamMethod, UnaryMethod
from blazerpc_client.specs import MethodSpec, method_spec, model_name, models_of
from blazerpc_client.tls import TLS
from blazerpc_client.wire.errors import WireError
from blazerpc_client.wire.tensors import Dims


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSettings:
    """What applies to the call besides its arguments.

    Attributes:
        timeout: seconds that it may take; None sets no deadline.
        metadata: texts of the form ``key=value``.
        as_json: whether results are lines of JSON.
        out: the file that arrays are saved in.
        verbose: whether the metadata that came with the result is shown.
        tls: how the connection is encrypted.
    """

    timeout: float | None
    metadata: Sequence[str]
    as_json: bool
    out: Path | None
    verbose: bool
    tls: TLS


def call(target: str, name: str, arguments: Sequence[str], settings: CallSettings) -> int:
    """Call a model or a method, write its results to the standard output; return the exit code.

    Args:
        target: ``HOST:PORT``.
        name: of a model, like ``digits`` or ``digits:2``, or of a method: ``pkg.Service/Method``.
        arguments: as ``parse_arguments`` takes them.
        settings: of the call.

    Raises:
        CommandError: with the exit code of what failed.
    """
    with called_wrongly():
        metadata = parse_metadata(settings.metadata)
        options = CallOptions(timeout=settings.timeout, metadata=metadata)
        channel = Channel(target, tls=settings.tls)
    output = Output(
        write=_write_line,
        terminal=sys.stdout.isatty(),
        as_json=settings.as_json,
        out=settings.out,
    )
    pending = _Call(channel, options, output)
    try:
        asyncio.run(pending.run(name, arguments))
    except RpcError as error:
        pending.trailing = error.trailing_metadata
        raise CommandError(hide(_mended(error), metadata), exit_code_of(error)) from None
    except BrokenPipeError:  # of the standard output: who read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    except OSError as error:
        raise CommandError(str(error), FAILURE) from None
    finally:
        if settings.verbose:
            for line in lines_of(pending.trailing, metadata):
                sys.stderr.write(f"{line}\n")
    return 0


class _Call:
    """One call: the schema is read, the arguments are parsed, the results put out.

    Attributes:
        trailing: the metadata that came after the results.
    """

    def __init__(self, channel: Channel, options: CallOptions, output: Output) -> None:
        self._channel = channel
        self._options = options
        self._output = output
        self.trailing = ReceivedMetadata()

    async def run(self, name: str, arguments: Sequence[str]) -> None:
        try:
            schema, method = await self._find(name)
            with called_wrongly():
                spec = method_spec(method)
                if spec.client_streaming:
                    raise WireError(f"{name} takes a stream of requests, and this sends one")
                results = Results(method, spec, self._output)
                values = parse_arguments(arguments, method, spec, sys.stdin.buffer.read)
            make = self._stream if spec.streaming else self._unary
            await make(schema, method.full_name, values, results.put)
        finally:
            self._channel.close()

    async def _find(self, name: str) -> tuple[Schema, MethodDescriptor]:
        """Return the schema and the method that is called ``name``."""
        service, slash, rpc = name.removeprefix("/").rpartition("/")
        try:
            wanted = [service] if slash else []
            schema = await fetch_schema(self._channel, wanted, options=self._options)
        except Unimplemented as error:
            raise Unimplemented(f"{error.message}; enable it there") from None
        if not slash:
            return schema, schema.method(self._model(schema, name).full_name)
        methods = schema.service(service).methods_by_name
        if rpc not in methods:
            raise NotFound(f"{service} has no method {rpc!r}; it has: {', '.join(methods)}")
        return schema, methods[rpc]

    def _model(self, schema: Schema, name: str) -> MethodSpec:
        models = models_of(schema)
        spec = models.get(name) or models.get(f"{name}:1")
        if spec is None:
            names = [model_name(spec.model) for spec in models.values() if spec.model is not None]
            others = f"it has: {', '.join(names)}" if names else "it has no models at all"
            raise NotFound(f"{self._channel.target} has no model {name!r}; {others}")
        return spec

    async def _unary(
        self, schema: Schema, name: str, values: dict[str, object], put: Callable[[object], None]
    ) -> None:
        method: UnaryMethod[object] = UnaryMethod(schema, name)
        dims: Dims = {}
        with called_wrongly():
            request = method.encode(values, dims)
        response = await with_response(self._channel.unary, method, request, self._options)
        self.trailing = response.trailing_metadata
        put(method.decode(response.result, dims))

    async def _stream(
        self, schema: Schema, name: str, values: dict[str, object], put: Callable[[object], None]
    ) -> None:
        method: StreamMethod[object] = StreamMethod(schema, name)
        dims: Dims = {}
        with called_wrongly():
            request = method.encode(values, dims)
        stream = with_response(self._channel.server_stream, method, request, self._options)
        async for message in stream:
            # A size that only results have may differ from one to the next.
            put(method.decode(message, dict(dims)))
        self.trailing = stream.trailing_metadata


def _mended(error: RpcError) -> str:
    """Return what a failed call says, with what helps."""
    return mended(error) if isinstance(error, Unavailable) else error.message


def _write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
