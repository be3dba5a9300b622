"""Whether a server answers as it should, asked by grpcio's client: h2load looks at no status."""

from __future__ import annotations

from typing import Final

import grpc

from benchmarks.sidebyside.load import BenchmarkError
from benchmarks.sidebyside.rows import ServerRow

#: Seconds that an answer may take.
PATIENCE: Final = 20

_UNLIMITED: Final = [("grpc.max_receive_message_length", -1)]


def check(row: ServerRow, target: str) -> None:
    """Make one call of a row.

    Raises:
        BenchmarkError: for a status that is not OK, and for an answer of other content.
    """
    with grpc.insecure_channel(target, options=_UNLIMITED) as channel:
        # To the client one answer is a stream of one.
        call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(row.path)
        try:
            answers = list(call(row.request.SerializeToString(), timeout=PATIENCE))
        except grpc.RpcError as error:
            raise BenchmarkError(f"{row.rpc} failed: {error.code()}, {error.details()}") from None
    # Compared as messages: the same one may be encoded in different ways.
    read = [type(row.response).FromString(answer) for answer in answers]
    if read != [row.response] * row.count:
        raise BenchmarkError(f"{row.rpc} gave {len(read)} messages that are not those expected")
