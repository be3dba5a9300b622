"""grpcio's reflection client: resolve everything that a server describes.

A program of its own: grpcio and grpclib both define the protocol in protobuf's global pool.
Argument: the server's address. Prints JSON: the services, and for each message its fields, and the
file that each custom option comes from.
"""

from __future__ import annotations

import json
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)


def main(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        messages: dict[str, list[str]] = {}
        services = sorted(database.get_services())
        for name in services:
            for method in pool.FindServiceByName(name).methods:
                for message in (method.input_type, method.output_type):
                    messages[message.full_name] = [field.name for field in message.fields]
        options = [
            pool.FindFileContainingSymbol(f"blazerpc.{name}").name
            for name in ("tensor", "param", "model")
        ]
        numbers = list(database.FindAllExtensionNumbers("google.protobuf.FieldOptions"))
        descriptor = pool.FindFileByName("google/protobuf/descriptor.proto").package
        field_options = pool.FindMessageTypeByName("google.protobuf.FieldOptions")
        by_number = sorted(
            pool.FindExtensionByNumber(field_options, number).full_name for number in numbers
        )
    answer = {
        "services": services,
        "messages": messages,
        "options": options,
        "descriptor": descriptor,
        "by_number": by_number,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
