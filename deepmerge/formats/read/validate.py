"""What the schema knows of a tree must fit the schema, as Caffe's own parser checks it.

What the schema does not know belongs to a fork: it is left alone, unless it looks like a misspelling.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deepmerge.formats.read.scalars import Reader, near
from deepmerge.graph.tree import Field, Message, Quoted

_MAX_UNKNOWN = 1000  # names; a file that has more was not misspelt by anybody
# Where a misspelling would lose a layer or an edge, it is an error
_VITAL = {
    "NetParameter": ("name", "layer", "input", "input_shape", "input_dim", "state"),
    "LayerParameter": ("name", "type", "bottom", "top"),
    "V1LayerParameter": ("name", "type", "bottom", "top", "layer"),
    "V0LayerParameter": ("name", "type"),
}


def validate(net: Message, file: str | Path) -> list[str]:
    """Misspelt fields, one line each; they stay in the tree as they are.

    ReadError (file:line:column) for a value of the wrong kind, for a field that stands twice and may not, and for a
    misspelling of what a network cannot do without.
    """
    return list(_message(net, "NetParameter", file, "", {}))


def name_of(layer: Message) -> str:
    """How messages call a layer, whatever is wrong with it."""
    layer = layer.message("layer") or layer  # V0
    name, kind = (str(layer.value(n) or "") for n in ("name", "type"))
    return f"layer {name!r} ({kind if kind.isprintable() else ascii(kind)})"


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
            raise reader.error(f"{field.name!r} stands twice (first in line {first}); keep one of them", field)
        seen[field.name] = field
        if known.kind == "message":
            own = name_of(value) if field.name in ("layer", "layers") else field.name
            inner = f"{where}, {own}" if where and where != own else own
            yield from _message(value, known.type_name, file, inner, typos)


def _unknown(field: Field, reader: Reader, type_name: str, typos: dict[tuple[str, str], str | None]) -> Iterator[str]:
    """typos: what has been found out about (message, name); looking takes long, and the same names come again."""
    asked = type_name, field.name
    if asked not in typos:
        if len(typos) >= _MAX_UNKNOWN:
            return
        vital = near(field.name, _VITAL.get(type_name, ()), 0.75)
        if vital:
            raise reader.error(f"unknown field {field.name!r}; did you mean {vital!r}?", field)
        # forks have many a `…_param` of their own, all alike in their last letters, and variants such as relu6_param
        found = near(field.name, reader.known, 0.9 if field.name.endswith("_param") else 0.8)
        typos[asked] = None if any(char.isdigit() for char in field.name) else found
    typo = typos[asked]
    if typo:
        where = f"{reader.where}, line {field.line}" if reader.where else f"line {field.line}"
        yield f"{where}: unknown field {field.name!r} is kept as it is; did you mean {typo!r}?"
