"""A client of the Kubernetes container runtime interface (CRI v1), over a unix socket.

The messages are described in messages.toml, and their classes made at run time.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

PACKAGE = "runtime.v1"
SERVICE = f"/{PACKAGE}.RuntimeService"
TABLE = Path(__file__).with_name("messages.toml")
Field = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
    "bool": Field.TYPE_BOOL,
    "int32": Field.TYPE_INT32,
    "int64": Field.TYPE_INT64,
    "uint32": Field.TYPE_UINT32,
    "uint64": Field.TYPE_UINT64,
}
LIMIT = 60  # seconds for one call
# Milliseconds until the next try to connect; a server that is started anew is soon back.
RETRY = [(f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")]


def _add_enum(file: Any, name: str, values: list[str]) -> None:
    enum = file.enum_type.add(name=name)
    for number, value in enumerate(values):
        enum.value.add(name=value, number=number)


def _add_map_entry(message: Any, field: str) -> str:
    """The message that stands for one pair of a map, as protobuf wants it; its name."""
    name = "".join(part.title() for part in field.split("_")) + "Entry"
    entry = message.nested_type.add(name=name)
    entry.options.map_entry = True
    for number, part in enumerate(("key", "value"), start=1):
        entry.field.add(
            name=part, number=number, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL
        )
    return f".{PACKAGE}.{message.name}.{name}"


def _add_field(message: Any, name: str, text: str, enums: Mapping[str, Any]) -> None:
    number, *words = text.split()
    many = words[0] in ("repeated", "map")
    field = message.field.add(name=name, number=int(number))
    field.label = Field.LABEL_REPEATED if many else Field.LABEL_OPTIONAL
    kind = words[-1]
    if kind in SCALARS:
        field.type = SCALARS[kind]
    elif kind == "map":
        field.type, field.type_name = Field.TYPE_MESSAGE, _add_map_entry(message, name)
    else:
        field.type = Field.TYPE_ENUM if kind in enums else Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


def message_classes(table: Mapping[str, Any]) -> dict[str, Any]:
    """A class for each message of the table. Raises TypeError if a type is not in it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="messages.toml", package=PACKAGE, syntax="proto3"
    )
    for name, values in table["enums"].items():
        _add_enum(file, name, values)
    for name, fields in table["messages"].items():
        message = file.message_type.add(name=name)
        for field, text in fields.items():
            _add_field(message, field, text, table["enums"])
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in table["messages"]
    }


class Client:
    """Calls a server which listens at a unix socket."""

    def __init__(self, socket: str) -> None:
        self.messages = message_classes(tomllib.loads(TABLE.read_text()))
        # Go's server refuses the socket's path as the name of a host.
        options = [("grpc.default_authority", "localhost"), *RETRY]
        self.channel = grpc.insecure_channel(f"unix://{socket}", options=options)

    def call(self, method: str, **fields: Any) -> Any:
        """Call, and wait for the answer. Raises grpc.RpcError with the server's reason.

        Fields are given as JSON has them; the answer is a message.
        """
        request = json_format.ParseDict(fields, self.messages[f"{method}Request"]())
        remote = self.channel.unary_unary(
            f"{SERVICE}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.messages[f"{method}Response"].FromString,
        )
        return remote(request, timeout=LIMIT, wait_for_ready=True)

    def name_of(self, message: Any, field: str) -> str:
        """The name of a field's value that is one of an enum."""
        enum = message.DESCRIPTOR.fields_by_name[field].enum_type
        return str(enum.values_by_number[getattr(message, field)].name)
