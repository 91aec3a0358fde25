"""Check that the known fields of a tree fit the schema, as Caffe's own parser does.

Unknown fields belong to a fork: they are left alone, unless they look like a misspelling.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deepmerge.formats.read.scalars import Reader
from deepmerge.graph.tree import Field, Message, Quoted
from deepmerge.names import for_terminal
from deepmerge.text import nearest

_MAX_UNKNOWN = 1000  # names; a file with more has no misspellings
# A misspelling of these is an error, as it would lose a layer or an edge
_VITAL = {
    "NetParameter": ("name", "layer", "input", "input_shape", "input_dim", "state"),
    "LayerParameter": ("name", "type", "bottom", "top"),
    "V1LayerParameter": ("name", "type", "bottom", "top", "layer"),
    "V0LayerParameter": ("name", "type"),
}


def validate(net: Message, file: str | Path) -> list[str]:
    """Return a line for each misspelt field; they stay in the tree unchanged.

    ReadError (file:line:column) for a value of the wrong kind, for a field that is given twice and may not be, and for
    a misspelling of a field that a network needs.
    """
    return list(_message(net, "NetParameter", file, "", {}))


def name_of(layer: Message) -> str:
    """Return the layer's name in messages, even if it is not complete."""
    layer = layer.message("layer") or layer  # V0
    name, kind = (str(layer.value(n) or "") for n in ("name", "type"))
    return f"layer {name!r} ({for_terminal(kind)})"


def _message(message: Message, type_name: str, file, where: str, typos: dict) -> Iterator[str]:
    reader = Reader(message, type_name, file, where)
    seen: dict[str, Field] = {}
    for field in message:
        known = reader.known.get(field.name)
        if known is None:
            yield from _unknown(field, reader, type_name, typos)
            continue
        if type_name == "V1LayerParameter" and field.name == "type" and isinstance(field.value, Quoted):
            text = (
                f"`layers` have types such as CONVOLUTION, without quotes; with {str(field.value)!r}, call it `layer`"
            )
            raise reader.error(text, field)
        value = reader.convert(field)
        if not known.repeated and field.name in seen:
            first = seen[field.name].line
            raise reader.error(f"{field.name!r} is given twice (first in line {first}); keep one of them", field)
        seen[field.name] = field
        if known.kind == "message":
            own = name_of(value) if field.name in ("layer", "layers") else field.name
            inner = f"{where}, {own}" if where and where != own else own
            yield from _message(value, known.type_name, file, inner, typos)


def _unknown(field: Field, reader: Reader, type_name: str, typos: dict[tuple[str, str], str | None]) -> Iterator[str]:
    """Yield a line if the field is misspelt. typos: earlier answers by (message, name), as searching takes long."""
    asked = type_name, field.name
    if asked not in typos:
        if len(typos) >= _MAX_UNKNOWN:
            return
        vital = nearest(field.name, _VITAL.get(type_name, ()), 1, 0.75)
        if vital:
            raise reader.error(f"unknown field {field.name!r}; did you mean {vital[0]!r}?", field)
        # Forks add many `…_param`, all alike in their last letters, and variants such as relu6_param
        near = nearest(field.name, reader.known, 1, 0.9 if field.name.endswith("_param") else 0.8)
        typos[asked] = near[0] if near and not any(char.isdigit() for char in field.name) else None
    typo = typos[asked]
    if typo:
        where = f"{reader.where}, line {field.line}" if reader.where else f"line {field.line}"
        yield f"{where}: unknown field {field.name!r} is kept as it is; did you mean {typo!r}?"
