"""The messages, fields and enums of Caffe's file format.

The package has proto/caffe.proto as a compiled descriptor, which this module reads into a descriptor pool of its own.
So neither protoc nor generated code is needed at run time, any protobuf from 4.21 on works, and a pycaffe imported in
the same process, which registers the same names in protobuf's default pool, does not clash.

`fields` and `enum_values` are all that readers and emitters need; `descriptor` and `message_class` give protobuf's own
objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from deepmerge.errors import DeepmergeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FieldDescriptorProto,
        FileDescriptorSet,
    )
    from google.protobuf.descriptor_pool import DescriptorPool

PACKAGE = "caffe"
DESCRIPTOR_FILE = Path(__file__).with_name("caffe.desc")

Kind = Literal["message", "enum", "string", "bytes", "bool", "int", "uint", "float", "double"]
Default = bool | int | float | str

# protobuf's type names that Caffe's schema uses; the width of integers does not matter to text or to Python
_KINDS: dict[str, Kind] = {
    "TYPE_MESSAGE": "message",
    "TYPE_ENUM": "enum",
    "TYPE_STRING": "string",
    "TYPE_BYTES": "bytes",
    "TYPE_BOOL": "bool",
    "TYPE_INT32": "int",
    "TYPE_INT64": "int",
    "TYPE_UINT32": "uint",
    "TYPE_UINT64": "uint",
    "TYPE_FLOAT": "float",
    "TYPE_DOUBLE": "double",
}


@dataclass(frozen=True)
class Field:
    """One field of a message.

    `default` is what the schema declares, an enum's as its name and a float's as written (Caffe rounds it to float32);
    None where it declares none, which for Caffe often means more than 0 or "". `type_name` names the message or enum,
    such as "ConvolutionParameter" or "PoolingParameter.PoolMethod"; None for other kinds.
    """

    name: str
    number: int
    kind: Kind
    repeated: bool
    packed: bool
    default: Default | None
    type_name: str | None


@cache
def fields(message_name: str) -> Mapping[str, Field]:
    """Return the fields of a message by name, in the order of proto/caffe.proto, in which they are also written.

    Raises DeepmergeError for a message that the schema does not have.
    """
    proto = _look_up("message", _messages(), message_name)
    return MappingProxyType({field.name: _field(field) for field in proto.field})


@cache
def enum_values(type_name: str) -> Mapping[str, int]:
    """Return the values of an enum by name: {"MAX": 0, "AVE": 1, …} for "PoolingParameter.PoolMethod".

    Raises DeepmergeError for an enum that the schema does not have.
    """
    proto = _look_up("enum", _enums(), type_name)
    return MappingProxyType({value.name: value.number for value in proto.value})


@cache
def descriptor(name: str) -> Descriptor:
    """Return protobuf's descriptor of a message, such as "NetParameter", from our own pool."""
    _look_up("message", _messages(), name)
    return _pool().FindMessageTypeByName(f"{PACKAGE}.{name}")


@cache
def message_class(name: str) -> type:
    """Return protobuf's class for a message, such as "NetParameter". Caffemodels are read by formats/read instead."""
    from google.protobuf import message_factory

    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor(name))
    return message_factory.MessageFactory(_pool()).GetPrototype(descriptor(name))  # protobuf 4.21


@cache
def _file_set() -> FileDescriptorSet:
    from google.protobuf import descriptor_pb2
    from google.protobuf.message import DecodeError

    remedy = "build it with `make`, or `pip install -e .` in a checkout"
    try:
        return descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTOR_FILE.read_bytes())
    except OSError as error:
        raise DeepmergeError(f"{DESCRIPTOR_FILE}: the compiled proto/caffe.proto is not there; {remedy}") from error
    except DecodeError as error:
        raise DeepmergeError(f"{DESCRIPTOR_FILE}: not a compiled proto/caffe.proto; {remedy}") from error


@cache
def _pool() -> DescriptorPool:
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    for file in _file_set().file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def _messages() -> Mapping[str, DescriptorProto]:
    return {name: message for file in _file_set().file for name, message in _walk(file.message_type)}


@cache
def _enums() -> Mapping[str, EnumDescriptorProto]:
    top_level = {enum.name: enum for file in _file_set().file for enum in file.enum_type}
    nested = {f"{name}.{enum.name}": enum for name, message in _messages().items() for enum in message.enum_type}
    return top_level | nested


def _walk(messages: Iterable[DescriptorProto], prefix: str = "") -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        yield prefix + message.name, message
        yield from _walk(message.nested_type, f"{prefix}{message.name}.")


def _look_up(what: str, known: Mapping, name: str):
    if name not in known:
        raise DeepmergeError(f"proto/caffe.proto: no {what} is called {name!r}")
    return known[name]


def _field(proto: FieldDescriptorProto) -> Field:
    kind = _KINDS[proto.Type.Name(proto.type)]
    return Field(
        name=proto.name,
        number=proto.number,
        kind=kind,
        repeated=proto.label == proto.LABEL_REPEATED,
        packed=proto.options.packed,
        default=_default(kind, proto.default_value) if proto.HasField("default_value") else None,
        type_name=proto.type_name.removeprefix(f".{PACKAGE}.") or None,
    )


def _default(kind: Kind, text: str) -> Default:
    """Return a declared default from its text in the descriptor."""
    if kind == "bool":
        return text == "true"
    if kind in ("int", "uint"):
        return int(text)
    if kind in ("float", "double"):
        return float(text)
    return text
