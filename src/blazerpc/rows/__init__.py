"""The type table: one class for each kind of Python annotation.

A row says three things of an annotation: which field it is in protobuf, what the function gets for
the plain value that the wire codec reads there, and (through the codec's own check) what it may
return. Schema, decoder, encoder, .proto text and client all follow from the field. To add a type,
add a class and list it in ``ROWS``; if protobuf has no such field yet, add its codec to
``blazerpc_client.wire``.
"""

from __future__ import annotations

from blazerpc.rows.base import Row, refuse_same_json_name, walk
from blazerpc.rows.containers import ListRow, MapRow, OptionalRow, omissible
from blazerpc.rows.enums import EnumRow
from blazerpc.rows.scalars import LiteralRow, NumpyScalarRow, ScalarRow, TimeRow
from blazerpc.rows.structs import StructRow, refuse_endless
from blazerpc.rows.table import ACCEPTED, ROWS, row_of
from blazerpc.rows.tensors import TensorRow

__all__ = [
    "ACCEPTED",
    "ROWS",
    "EnumRow",
    "ListRow",
    "LiteralRow",
    "MapRow",
    "NumpyScalarRow",
    "OptionalRow",
    "Row",
    "ScalarRow",
    "StructRow",
    "TensorRow",
    "TimeRow",
    "omissible",
    "refuse_endless",
    "refuse_same_json_name",
    "row_of",
    "walk",
]
